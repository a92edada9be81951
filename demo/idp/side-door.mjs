// What a test may see and turn at the provider: /_test/*, only with OP_TEST_HOOKS=1 and on loopback like all the rest.
//
//   GET  /_test/health    that the process answers
//   GET  /_test/events    what happened, oldest first
//   GET  /_test/secrets   every token, code, state, nonce and verifier that passed here: [{kind, value}], so that a test
//                         can look for the very values in logs and browser traffic instead of guessing at patterns
//   POST /_test/mutate    see wire-faults.mjs; DELETE puts all right
//   POST /_test/reset     forgets events, secrets and faults
//   POST /_test/iat       mints an initial access token
//   POST /_test/logout-token  {client_id, sub, sid, fault}: a logout token as the provider would send it, one thing made wrong
import crypto from 'node:crypto';
import { currentFaults, remint, setFaults } from './wire-faults.mjs';

const MOST_ENTRIES = 5000;
let events = [];
let secrets = [];

export const note = (type, detail = {}) => {
  events.push({ t: Date.now(), type, ...detail });
  if (events.length > MOST_ENTRIES) events.shift();
};

const keep = (kind, value) => {
  if (typeof value !== 'string' || !value) return;
  secrets.push({ kind, value });
  if (secrets.length > MOST_ENTRIES) secrets.shift();
};

/** Middleware: remembers what must never be seen outside, as it was asked for and as it was answered. */
export async function rememberSecrets(ctx, next) {
  await next();
  const params = { ...ctx.oidc?.body, ...ctx.oidc?.params }; // a pushed request loses its client_assertion on the way
  for (const kind of ['code', 'code_verifier', 'refresh_token', 'state', 'nonce', 'client_assertion', 'id_token_hint']) keep(kind, params[kind]);
  const location = ctx.response.get('location');
  if (/[?&]code=/.test(location)) keep('code', new URL(location).searchParams.get('code'));
  const body = ctx.body && typeof ctx.body === 'object' ? ctx.body : {};
  if (ctx.oidc?.route === 'token') for (const kind of ['access_token', 'refresh_token', 'id_token']) keep(kind, body[kind]);
}

async function readJson(req) {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks));
}

async function mintLogoutToken(provider, { client_id, sub, sid, fault }) {
  const token = new provider.IdToken({ sub }, { client: await provider.Client.find(client_id), ctx: undefined });
  token.mask = { sub: null };
  token.set('events', { 'http://schemas.openid.net/event/backchannel-logout': {} });
  token.set('jti', crypto.randomUUID());
  if (sid) token.set('sid', sid);
  const good = await token.issue({ use: 'logout' });
  const minted = fault ? await remint(good, fault) : good;
  keep('logout_token', minted);
  return { logout_token: minted };
}

async function answer(provider, req) {
  const { pathname } = new URL(req.url, 'http://side-door');
  switch (`${req.method} ${pathname}`) {
    case 'GET /_test/health': return { ok: true, pid: process.pid };
    case 'GET /_test/events': return events;
    case 'GET /_test/secrets': return secrets;
    case 'POST /_test/mutate': await setFaults(await readJson(req)); return currentFaults();
    case 'DELETE /_test/mutate': await setFaults({}); return currentFaults();
    case 'POST /_test/reset': events = []; secrets = []; await setFaults({}); return {};
    case 'POST /_test/iat': return { initial_access_token: await new provider.InitialAccessToken({ policies: ['once'] }).save() };
    case 'POST /_test/logout-token': return mintLogoutToken(provider, await readJson(req));
    default: return undefined;
  }
}

/** The server's request handler: the side door first, everything else to the provider. */
export const openSideDoor = (provider, callback) => async (req, res) => {
  if (!req.url.startsWith('/_test/')) {
    // Noted as it comes in: what the provider itself reports may come after its answer, and so in the next test.
    note('request', { method: req.method, path: req.url.split('?')[0] });
    callback(req, res);
    return;
  }
  let status = 200;
  let body;
  try {
    body = await answer(provider, req);
    if (body === undefined) { status = 404; body = { error: 'no such test hook' }; }
  } catch (err) { status = 500; body = { error: err.message }; }
  res.writeHead(status, { 'content-type': 'application/json' });
  res.end(JSON.stringify(body));
};
