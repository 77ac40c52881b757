// @antiadmin/anticaptchaofficial: anti-captcha's own client for Node.
const client = require('@antiadmin/anticaptchaofficial');

const { ANYCAP_CLIENT_KEY: KEY, ANYCAP_CLIENT_PICTURE: PICTURE } = process.env;
const PAGE = 'https://example.com/login';
const SITE_KEY = '6LeIxboZAAAAAFQy7d8GPzgRZu2bV0GwKS8ue_cH';
client.shutUp();
client.setAPIKey(KEY);

globalThis.anycapRun({
  image: () => client.solveImage(PICTURE),
  v2: () => client.solveRecaptchaV2Proxyless(PAGE, SITE_KEY),
  v3: () => client.solveRecaptchaV3(PAGE, SITE_KEY, 0.7, 'login'),
  turnstile: () => client.solveTurnstileProxyless(PAGE, SITE_KEY),
  balance: () => client.getBalance(),
  wrong_key: () => {
    client.setAPIKey('0'.repeat(32));
    return client.solveRecaptchaV2Proxyless(PAGE, SITE_KEY);
  },
});
