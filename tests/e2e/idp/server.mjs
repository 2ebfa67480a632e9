// A real OpenID provider (oidc-provider) on loopback, for the end-to-end tests and the demonstration.
//
//   node server.mjs PORT ADMIN_PORT [HOST]         port 0 takes a free port
//
// When it listens, one line `ready {"issuer": ..., "port": ..., "admin": ...}` goes to stdout. People are OAuth clients: each gets a
// JWT access token for itself by client_credentials, with the claims a company's provider would put there. Keys are made at
// start and never leave the process. The admin port speaks JSON:
//   PUT  /people/NAME   {"secret", "claims": {...}, "alg": "RS256"|"ES256", "ttl": seconds}: `secret` is also the password at the sign-in page
//   PUT  /apps/NAME     {"secret", "redirect_uri", "logout_uri", "session": bool}: an application whose people log in with a browser
//   PUT  /clients/NAME  {"redirect_uris": [...], "secret": null|"...", "ttl": seconds}: an application people sign in to with a password
//                       and PKCE; ID tokens of `ttl`
//   POST /rotate        {"keep_old": bool}: new keys under new ids; the old ones stay published only on request
//   POST /mint          {"claims", "header", "alg", "key": "current"|"previous"|"stray"}: a token that the provider would not issue
//   POST /outage        {"mode": "none"|"refuse"|"error"|"hang"}
//   POST /deactivate    {"jti"}: introspection (POST /check, client `gateway`) says of it from now on that it is not active
//   PUT  /introspector  {"secret", "delay": ms}: how the gateway authenticates there, and how long an answer takes
//   GET  /counts        how often each path of the provider was asked for
import { createHmac, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import * as jose from 'jose';
import { Provider } from 'oidc-provider';

const AUDIENCE = 'tollgate';
const RESOURCE = 'urn:tollgate';
const [port = '0', adminPort = '0', host = '127.0.0.1'] = process.argv.slice(2);

const people = new Map();
const apps = new Map();
const clients = new Map();
const cookieKeys = [randomBytes(32).toString('hex')];
const counts = {};
const inactive = new Set();
let introspector = { secret: randomBytes(16).toString('hex'), delay: 0 };
let outage = 'none';
let issuer;
let keys;          // signing now
let previous;      // signed before the last rotation
let published;     // what the JWKS shows
let provider;
let generation = 0;
const stray = await newKeys('stray'); // published nowhere

async function newKeys(name) {
  const rsa = await jose.generateKeyPair('RS256', { modulusLength: 2048, extractable: true });
  const ec = await jose.generateKeyPair('ES256', { extractable: true });
  const set = {};
  for (const [alg, pair] of [['RS256', rsa], ['ES256', ec]]) {
    const kid = `${name}-${alg.toLowerCase()}-${randomBytes(4).toString('hex')}`;
    set[alg] = {
      kid, alg, key: pair.privateKey, pem: await jose.exportSPKI(pair.publicKey),
      jwk: { ...(await jose.exportJWK(pair.privateKey)), kid, alg, use: 'sig' },
    };
  }
  return set;
}

function build() {
  provider = new Provider(issuer, {
    clients: [
      ...[...people].map(([name, person]) => ({
        client_id: name, client_secret: person.secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
      })),
      ...[...apps].map(([name, app]) => ({
        client_id: name, client_secret: app.secret, grant_types: ['authorization_code'], redirect_uris: [app.redirect_uri],
        response_types: ['code'], token_endpoint_auth_method: 'client_secret_post', backchannel_logout_uri: app.logout_uri,
        backchannel_logout_session_required: app.session,
      })),
      ...[...clients].map(([name, client]) => ({
        client_id: name, redirect_uris: client.redirect_uris, grant_types: ['authorization_code'], response_types: ['code'],
        ...(client.secret ? { client_secret: client.secret } : { token_endpoint_auth_method: 'none' }),
      })),
    ],
    // What a company's provider puts into ID tokens.
    claims: { openid: ['sub', 'team', 'organization', 'cost_center', 'groups'], profile: ['name'] },
    findAccount: (_ctx, sub) => ({ accountId: sub, claims: () => ({ sub, ...people.get(sub)?.claims }) }),
    ttl: { IdToken: (_ctx, _token, client) => clients.get(client.clientId)?.ttl ?? 3600 },
    interactions: {
      url: (_ctx, interaction) => `/${clients.has(interaction.params.client_id) ? 'sign-in' : 'interaction'}/${interaction.uid}`,
    },
    // Whoever has the password may sign in to every client: nobody is asked for consent.
    loadExistingGrant: async ({ oidc }) => {
      if (!clients.has(oidc.client.clientId)) {
        const id = oidc.result?.consent?.grantId ?? oidc.session.grantIdFor(oidc.client.clientId);
        return id && provider.Grant.find(id);
      }
      const grant = new provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
      grant.addOIDCScope('openid profile');
      await grant.save();
      return grant;
    },
    httpOptions: () => ({ signal: AbortSignal.timeout(60000) }), // back-channel logout: the gateway may be slow
    pkce: { required: (_ctx, client) => clients.has(client.clientId) },
    cookies: { keys: cookieKeys },
    jwks: { keys: published.map((key) => key.jwk) },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256'] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (_ctx, client) => clients.has(client.clientId) ? undefined : RESOURCE,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, _resource, client) => ({
          audience: AUDIENCE, scope: 'llm', accessTokenFormat: 'jwt', accessTokenTTL: people.get(client.clientId)?.ttl ?? 3600,
          jwt: { sign: { alg: people.get(client.clientId)?.alg ?? 'RS256' } },
        }),
      },
    },
    extraTokenClaims: async (_ctx, token) => {
      if (people.has(token.clientId)) return people.get(token.clientId).claims;
      if (clients.has(token.clientId)) return {};
      const session = await provider.Session.findByUid(token.sessionUid);
      return { team: 'research', ...(apps.get(token.clientId).session && { sid: session.sidFor(token.clientId) }) };
    },
  });
  provider.on('server_error', (_ctx, error) => console.error('idp:', error.message));
  handle = provider.callback();
}
let handle;

// The login page: whoever comes is let in as the name the request hints at, and consents to everything.
async function logIn(req, res) {
  const { params } = await provider.interactionDetails(req, res);
  const grant = new provider.Grant({ accountId: params.login_hint, clientId: params.client_id });
  grant.addOIDCScope('openid');
  grant.addResourceScope(RESOURCE, 'llm');
  await provider.interactionFinished(req, res, { login: { accountId: params.login_hint }, consent: { grantId: await grant.save() } });
}

// RFC 7662. The provider's own endpoint does not look at JWTs, so this one stands beside it.
async function introspect(req, res) {
  let text = '';
  for await (const data of req) text += data;
  const form = new URLSearchParams(text);
  const basic = `Basic ${Buffer.from(`gateway:${introspector.secret}`).toString('base64')}`;
  if (req.method !== 'POST' || req.headers.authorization !== basic || form.get('token_type_hint') !== 'access_token') {
    res.writeHead(401);
    return res.end();
  }
  await new Promise((resolve) => setTimeout(resolve, introspector.delay));
  let answer = { active: false };
  try {
    const keys = published.map(({ jwk: { d, p, q, dp, dq, qi, ...open } }) => open);
    const { payload } = await jose.jwtVerify(form.get('token'), jose.createLocalJWKSet({ keys }));
    if (!inactive.has(payload.jti)) answer = { active: true, sub: payload.sub, exp: payload.exp, token_type: 'Bearer' };
  } catch { /* not one of ours */ }
  res.writeHead(200, { 'content-type': 'application/json' });
  return res.end(JSON.stringify(answer));
}

async function rotate(keepOld) {
  previous = keys;
  keys = await newKeys(`k${++generation}`);
  published = [...Object.values(keys), ...(keepOld && previous ? Object.values(previous) : [])];
  build();
}

async function mint({ claims = {}, header = {}, alg = 'RS256', key = 'current' }) {
  const set = { current: keys, previous, stray }[key];
  const now = Math.floor(Date.now() / 1000);
  const body = { iss: issuer, aud: AUDIENCE, sub: 'minted', iat: now, exp: now + 3600, ...claims };
  for (const name of Object.keys(body)) if (body[name] === null) delete body[name];
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signer = set[alg] ?? set.RS256;
  const head = { typ: 'at+jwt', alg, kid: signer.kid, ...header };
  for (const name of Object.keys(head)) if (head[name] === null) delete head[name];
  if (set[alg] && head.alg === alg) {
    const crit = Object.fromEntries((head.crit ?? []).map((name) => [name, true]));
    return new jose.SignJWT(body).setProtectedHeader(head).sign(signer.key, { crit });
  }
  const input = `${part(head)}.${part(body)}`;
  if (head.alg === 'none') return `${input}.`;
  if (head.alg.startsWith('HS')) { // the public key used as a shared secret
    return `${input}.${createHmac('sha256', signer.pem).update(input).digest('base64url')}`;
  }
  throw new Error(`cannot mint ${JSON.stringify(head)}`);
}

// The sign-in page: a name and a password, without a script or a style.
async function signIn(req, res) {
  const { uid, prompt } = await provider.interactionDetails(req, res);
  if (req.method === 'POST') {
    let text = '';
    for await (const data of req) text += data;
    const form = new URLSearchParams(text), person = people.get(form.get('name'));
    const known = person && form.get('password') === person.secret;
    return provider.interactionFinished(req, res, known ? { login: { accountId: form.get('name') } }
      : { error: 'access_denied', error_description: 'wrong name or password' }, { mergeWithLastSubmission: false });
  }
  res.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
  return res.end(`<!doctype html><html lang="en"><title>Sign in</title><form method="post" action="/sign-in/${uid}">
<p>${prompt.name}</p><label>Name <input name="name" autofocus></label> <label>Password <input name="password" type="password"></label>
<button>Sign in</button></form></html>`);
}

const front = createServer((req, res) => {
  const path = req.url.split('?')[0];
  counts[path] = (counts[path] ?? 0) + 1;
  if (outage === 'hang') return undefined;
  if (outage === 'error') {
    res.writeHead(500, { 'content-type': 'text/plain' });
    return res.end('simulated outage\n');
  }
  if (path === '/check') return introspect(req, res);
  const page = { 'sign-in': signIn, interaction: logIn }[path.split('/')[1]];
  if (page) {
    return page(req, res).catch((error) => {
      res.writeHead(500, { 'content-type': 'text/plain' });
      res.end(`${error.message}\n`);
    });
  }
  return handle(req, res);
});

const listening = (server, at) => new Promise((resolve, reject) => {
  server.once('error', reject);
  server.listen(at, host, () => resolve(server.address().port));
});

async function setOutage(mode) {
  if (!['none', 'refuse', 'error', 'hang'].includes(mode)) throw new Error(`unknown outage ${mode}`);
  if (mode === 'refuse' && front.listening) {
    front.closeAllConnections();
    await new Promise((resolve) => front.close(resolve));
  } else if (mode !== 'refuse' && !front.listening) {
    await listening(front, frontPort);
  }
  if (outage === 'hang') front.closeAllConnections();
  outage = mode;
}

async function admin(method, path, body) {
  if (method === 'PUT' && path.startsWith('/people/')) {
    people.set(decodeURIComponent(path.slice(8)), body);
    build();
    return {};
  }
  if (method === 'PUT' && path.startsWith('/apps/')) {
    apps.set(decodeURIComponent(path.slice(6)), body);
    build();
    return {};
  }
  if (method === 'PUT' && path.startsWith('/clients/')) {
    clients.set(decodeURIComponent(path.slice(9)), body);
    build();
    return {};
  }
  switch (`${method} ${path}`) {
    case 'POST /rotate': await rotate(body.keep_old); return { kids: published.map((key) => key.kid) };
    case 'POST /mint': return { token: await mint(body) };
    case 'POST /outage': await setOutage(body.mode); return {};
    case 'POST /deactivate': inactive.add(body.jti); return {};
    case 'PUT /introspector': introspector = body; return {};
    case 'GET /counts': return counts;
    default: return undefined;
  }
}

const back = createServer(async (req, res) => {
  const reply = (status, value) => {
    res.writeHead(status, { 'content-type': 'application/json' });
    res.end(JSON.stringify(value));
  };
  try {
    let text = '';
    for await (const data of req) text += data;
    const value = await admin(req.method, req.url, text ? JSON.parse(text) : {});
    reply(value === undefined ? 404 : 200, value ?? { error: 'no such address' });
  } catch (error) {
    reply(400, { error: error.message });
  }
});

const frontPort = await listening(front, Number(port));
issuer = `http://${host}:${frontPort}`;
await rotate(false);
const backPort = await listening(back, Number(adminPort));
console.log(`ready ${JSON.stringify({ issuer, port: frontPort, admin: backPort })}`);
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
