// A real OpenID Provider (npm oidc-provider) on loopback only, for the demo and for the tests.
// Any user name logs in with any password. Everything that a caller may want to vary is an environment variable:
//
//   OP_PORT (9400; 0 takes a free one)     OP_ISSUER (http://127.0.0.1:<port>)     OP_CLIENTS (JSON list of client metadata)
//   OP_RESOURCES (JSON, by audience)       OP_TTL_AT, OP_TTL_RT (seconds)          OP_CONFORM_ID_TOKEN, OP_ROTATE_RT, OP_ALWAYS_RT
//   OP_REQUIRE_PAR, OP_DPOP_NONCE, OP_IAT ('model': one-use initial access tokens), OP_ROTATE_RAT
//   OP_EDITORS (names, with spaces between: who has the role `editor` too)
//   OP_JWKS_CACHE (seconds that a client's JWKS is kept at most; by itself the provider keeps it a minute at least)
//   OP_TEST_HOOKS=1 opens the side door /_test/* (side-door.mjs); without it there is none.
import http from 'node:http';
import crypto from 'node:crypto';
import { once } from 'node:events';
import { Provider, errors } from 'oidc-provider';
import { keys } from './keys.mjs';
import { Memory } from './memory.mjs';
import { TOKEN_EXCHANGE, addTokenExchange } from './token-exchange.mjs';
import { currentFaults, mutate, remint } from './wire-faults.mjs';
import { note, openSideDoor, rememberSecrets } from './side-door.mjs';

const { env } = process;
const flag = (name, dflt) => (env[name] === undefined ? dflt : /^(1|true|yes|on)$/i.test(env[name]));
const TEST_HOOKS = flag('OP_TEST_HOOKS', false);
const IAT_MODE = env.OP_IAT ?? 'model';
const TTL_AT = Number(env.OP_TTL_AT ?? 300);
const TTL_RT = Number(env.OP_TTL_RT ?? 3600);

// Listening comes first, so that OP_PORT=0 can name its port in the issuer.
const server = http.createServer();
server.keepAliveTimeout = 65_000;
server.on('error', (err) => { console.error(JSON.stringify({ ready: false, error: err.message })); process.exit(1); });
server.listen(Number(env.OP_PORT ?? 9400), '127.0.0.1');
await once(server, 'listening');
const ISSUER = env.OP_ISSUER ?? `http://127.0.0.1:${server.address().port}`;

// --- resource servers: one JWT access token per audience --------------------------------------
const RESOURCES = JSON.parse(env.OP_RESOURCES ?? JSON.stringify({
  'urn:test:api:crud': { scope: 'crud:read crud:write', alg: 'ES256' },
  'urn:test:api:llm': { scope: 'llm:chat', alg: 'PS256' },
  'urn:test:pdp': { scope: 'authz:evaluate', alg: 'ES256' },
  'urn:test:api:opaque': { scope: 'opaque:read', format: 'opaque' },
}));
const resourceInfo = (id) => {
  const r = RESOURCES[id];
  if (!r) throw new errors.InvalidTarget('unknown resource');
  return {
    scope: r.scope, audience: r.audience ?? id, accessTokenTTL: r.ttl ?? TTL_AT,
    accessTokenFormat: r.format ?? 'jwt', jwt: { sign: { alg: r.alg ?? 'ES256' } },
  };
};
const allResourceScopes = [...new Set(Object.values(RESOURCES).flatMap((r) => r.scope.split(' ')))];

// --- people: any name is a user; a name that begins with "admin" is an administrator -----------
const EDITORS = new Set((env.OP_EDITORS ?? '').split(' '));
const rolesOf = (id) => [...(id.startsWith('admin') ? ['admin'] : []), ...(EDITORS.has(id) ? ['editor'] : []), 'user'];
const displayName = (id) => id.charAt(0).toUpperCase() + id.slice(1);
const findAccount = async (ctx, id) => ({
  accountId: id,
  claims: async () => ({
    sub: id, name: displayName(id), preferred_username: id, email: `${id}@example.test`, email_verified: true, roles: rolesOf(id),
  }),
});

const configuration = {
  adapter: Memory,
  jwks: { keys },
  scopes: ['openid', 'offline_access', ...allResourceScopes],
  claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email', 'email_verified'], roles: ['roles'] },
  clients: JSON.parse(env.OP_CLIENTS ?? '[]'),
  cookies: { keys: ['loopback-test-only'] },
  pkce: { required: () => true },
  responseTypes: ['code'],
  conformIdTokenClaims: flag('OP_CONFORM_ID_TOKEN', true),
  clientAuthMethods: ['none', 'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt'],
  rotateRefreshToken: () => flag('OP_ROTATE_RT', true),
  issueRefreshToken: async (ctx, client, source) => client.grantTypeAllowed('refresh_token')
    && (source.scopes.has('offline_access') || flag('OP_ALWAYS_RT', true)),
  expiresWithSession: async (ctx, token) => !token.scopes.has('offline_access'),
  ttl: {
    AccessToken: TTL_AT, ClientCredentials: TTL_AT, RefreshToken: TTL_RT, IdToken: 300, AuthorizationCode: 60,
    Interaction: 600, Session: 3600, Grant: 3600, InitialAccessToken: 600, PushedAuthorizationRequest: 60,
  },
  // 9.13 puts an undici dispatcher that drops sockets to special-use addresses on every outgoing
  // request (jwks_uri, back-channel logout): loopback needs it taken off.
  fetch: async (url, { dispatcher, ...options }) => {
    const faults = currentFaults();
    if (faults.logout_token && options.body instanceof URLSearchParams && options.body.has('logout_token')) {
      options.body.set('logout_token', await remint(options.body.get('logout_token'), faults.logout_token));
    }
    return globalThis.fetch(url, options);
  },
  findAccount,
  extraTokenClaims: async (ctx, token) => ({
    ...(ctx?.oidc?.entities?.ExchangeActor ? { act: ctx.oidc.entities.ExchangeActor } : {}),
    ...(token.kind === 'AccessToken' ? { roles: rolesOf(token.accountId ?? '') } : {}),
  }),
  extraParams: ['audience'],
  features: {
    devInteractions: { enabled: true },
    registration: { enabled: true, initialAccessToken: IAT_MODE === 'model' ? true : IAT_MODE, policies: IAT_MODE === 'model' ? { once: () => {} } : undefined },
    registrationManagement: { enabled: true, rotateRegistrationAccessToken: flag('OP_ROTATE_RAT', true) },
    pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: flag('OP_REQUIRE_PAR', false) },
    dPoP: { enabled: true, nonceSecret: crypto.randomBytes(32), requireNonce: () => flag('OP_DPOP_NONCE', false) },
    jwtResponseModes: { enabled: true },
    introspection: { enabled: true },
    jwtIntrospection: { enabled: true },
    revocation: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    backchannelLogout: { enabled: true },
    clientCredentials: { enabled: true },
    claimsParameter: { enabled: true },
    requestObjects: { enabled: true },
    userinfo: { enabled: true },
    jwtUserinfo: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: async (ctx, client, oneOf) => (oneOf ? oneOf[0] : undefined),
      useGrantedResource: async () => false,
      getResourceServerInfo: async (ctx, id) => resourceInfo(id),
    },
  },
};

const provider = new Provider(ISSUER, configuration);

// The provider sets `freshUntil` whenever it has read a client's JWKS.
async function boundJwksCache(seconds) {
  const client = await provider.Client.find(configuration.clients[0].client_id);
  Object.defineProperty(Object.getPrototypeOf(client.asymmetricKeyStore), 'freshUntil', {
    get() { return this.boundFreshUntil; },
    set(until) { this.boundFreshUntil = Math.min(until, Date.now() / 1000 + seconds); },
  });
}
if (TEST_HOOKS) provider.use(rememberSecrets);
if (TEST_HOOKS) provider.use(mutate);
addTokenExchange(provider, { issuer: ISSUER, resourceInfo, findAccount });
if (env.OP_JWKS_CACHE) await boundJwksCache(Number(env.OP_JWKS_CACHE));

// --- one-use initial access tokens, and a journal of what happened ------------------------------
if (IAT_MODE === 'model') {
  provider.on('registration_create.success', async (ctx) => { await ctx.oidc.entities.InitialAccessToken?.destroy(); });
}
for (const name of ['registration_create.success', 'registration_update.success', 'registration_delete.success']) {
  provider.on(name, (ctx, client) => note(name, { client_id: client?.clientId }));
}
for (const name of ['grant.success', 'grant.error', 'pushed_authorization_request.success', 'pushed_authorization_request.error', 'authorization.success', 'authorization.error', 'end_session.success', 'grant.revoked', 'server_error', 'userinfo.error', 'introspection.error', 'registration_create.error', 'registration_update.error']) {
  provider.on(name, (ctx, err) => note(name, {
    client_id: ctx?.oidc?.client?.clientId, grant_type: ctx?.oidc?.params?.grant_type,
    error: err instanceof Error ? err.message : undefined,
    detail: err instanceof Error ? (err.error_detail ?? err.error_description ?? err.cause?.message) : undefined,
  }));
}
provider.on('backchannel.success', (ctx, client, sub, sid) => note('backchannel.success', { client_id: client.clientId, sub, sid }));
provider.on('backchannel.error', (ctx, err, client, sub, sid) => note('backchannel.error', { client_id: client.clientId, sub, sid, error: err.message }));

const callback = provider.callback();
server.on('request', TEST_HOOKS ? openSideDoor(provider, callback) : callback);
console.log(JSON.stringify({ ready: true, issuer: ISSUER, pid: process.pid, node: process.version }));
for (const sig of ['SIGTERM', 'SIGINT']) process.on(sig, () => server.close(() => process.exit(0)).closeAllConnections());
