// @zennolab_com/capmonstercloud-client: CapMonster Cloud's own client for Node. It drops the path of an address.
const {
  CapMonsterCloudClientFactory,
  ClientOptions,
  ImageToTextRequest,
  RecaptchaV2Request,
  RecaptchaV3ProxylessRequest,
  TurnstileRequest,
} = require('@zennolab_com/capmonstercloud-client');

const { ANYCAP_CLIENT_KEY: KEY, ANYCAP_CLIENT_PICTURE: PICTURE, ANYCAP_CLIENT_ADDRESS: ADDRESS } = process.env;
const place = { websiteURL: 'https://example.com/login', websiteKey: '6LeIxboZAAAAAFQy7d8GPzgRZu2bV0GwKS8ue_cH' };

const client = (clientKey = KEY) =>
  CapMonsterCloudClientFactory.Create(new ClientOptions({ clientKey, serviceUrl: ADDRESS }));
const solve = async (request, name, key) => {
  const result = await client(key).Solve(request);
  if (result.error) throw new Error(result.error);
  return result.solution[name];
};

globalThis.anycapRun({
  image: () => solve(new ImageToTextRequest({ body: PICTURE, CapMonsterModule: 'universal', Case: true }), 'text'),
  v2: () => solve(new RecaptchaV2Request(place), 'gRecaptchaResponse'),
  v3: () => solve(new RecaptchaV3ProxylessRequest({ ...place, minScore: 0.7, pageAction: 'login' }), 'gRecaptchaResponse'),
  turnstile: () => solve(new TurnstileRequest(place), 'token'),
  balance: async () => (await client().getBalance()).balance,
  wrong_key: () => solve(new RecaptchaV2Request(place), 'gRecaptchaResponse', '0'.repeat(32)),
});
