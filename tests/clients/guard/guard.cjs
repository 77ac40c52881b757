// Runs in every Node process of a public client (`node --require`): lets it reach loopback only, and redirects the
// vendors' hosts there. The client's code is untouched. What the scripts share is at the end.
const dns = require('dns');
const http = require('http');
const https = require('https');
const net = require('net');

const HOSTS = JSON.parse(process.env.ANYCAP_CLIENT_HOSTS || '{}');
const isLoopback = (host) => !host || host === 'localhost' || host === '::1' || /^127\./.test(host);
const refuse = (host) => new Error(`the loopback guard refused ${host}`);

const lookup = dns.lookup;
dns.lookup = (host, options, callback) => {
  if (!isLoopback(host)) return process.nextTick(callback || options, refuse(host));
  return lookup(host, options, callback);
};
const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function guarded(...given) {
  const options = Array.isArray(given[0]) ? given[0][0] : given[0];
  // Names are refused by the look-up above, where the caller expects an error.
  if (options && net.isIP(options.host) && !isLoopback(options.host)) throw refuse(options.host);
  return connect.apply(this, given);
};

const request = https.request;
https.request = (options, callback) => {
  const root = options && HOSTS[options.hostname || options.host];
  if (!root) return request(options, callback);
  const to = new URL(root);
  const own = { ...options, protocol: 'http:', hostname: to.hostname, host: to.hostname, port: to.port };
  delete own.agent;
  delete own.agents;
  return http.request(own, callback);
};

globalThis.anycapRun = async (kinds) => {
  for (const [kind, ask] of Object.entries(kinds)) {
    let value = null;
    let error = null;
    try {
      value = await ask();
    } catch (thrown) {
      error = String(thrown && thrown.message ? thrown.message : thrown);
    }
    console.log(`RESULT ${JSON.stringify({ kind, value, error })}`);
  }
  process.exit(0);
};
