// RFC 8693 token exchange, as a custom grant of the provider.
import { errors } from 'oidc-provider';
import { createLocalJWKSet, decodeJwt, jwtVerify } from 'jose';
import { publicJwks } from './keys.mjs';

export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const T = { at: 'urn:ietf:params:oauth:token-type:access_token', jwt: 'urn:ietf:params:oauth:token-type:jwt', idt: 'urn:ietf:params:oauth:token-type:id_token' };

export function addTokenExchange(provider, { issuer, resourceInfo, findAccount }) {
  async function readSubjectToken(ctx, value, type) {
    if (![T.at, T.jwt].includes(type)) throw new errors.InvalidRequest('unsupported subject_token_type');
    if (value.split('.').length !== 3) {                   // opaque access token
      const at = await provider.AccessToken.find(value);
      if (!at) throw new errors.InvalidRequest('subject_token is not valid');
      return { sub: at.accountId, client_id: at.clientId, scope: at.scope, sid: at.sid, grantId: at.grantId };
    }
    try {
      const { payload } = await jwtVerify(value, createLocalJWKSet(publicJwks), { issuer });
      return payload;
    } catch (cause) {
      throw new errors.InvalidRequest('subject_token is not valid', 400, { cause });
    }
  }

  provider.registerGrantType(TOKEN_EXCHANGE, async (ctx) => {
    const { params: p, client } = ctx.oidc;
    if (!p.subject_token || !p.subject_token_type) throw new errors.InvalidRequest('subject_token and subject_token_type are required');
    if (p.requested_token_type && ![T.at, T.jwt].includes(p.requested_token_type)) throw new errors.InvalidRequest('unsupported requested_token_type');
    const subject = await readSubjectToken(ctx, p.subject_token, p.subject_token_type);
    const target = p.resource ?? p.audience;
    if (!target || Array.isArray(target)) throw new errors.InvalidTarget('exactly one resource or audience is needed');
    const info = resourceInfo(target);

    const { default: validateDpop } = await import('oidc-provider/lib/helpers/validate_dpop.js');
    const dPoP = await validateDpop(provider, ctx);
    if (!dPoP && client.dpopBoundAccessTokens) throw new errors.InvalidGrant('DPoP proof JWT not provided');

    const wanted = p.scope ? p.scope.split(' ') : info.scope.split(' ');
    const scope = wanted.filter((s) => info.scope.split(' ').includes(s)).join(' ');
    if (p.scope && !scope) throw new errors.InvalidScope('requested scope is not allowed at that target', p.scope);

    const account = await findAccount(ctx, subject.sub);
    ctx.oidc.entity('Account', account);
    ctx.oidc.entity('ExchangeActor', p.actor_token ? { sub: decodeJwt(p.actor_token).sub } : { sub: client.clientId });
    const at = new provider.AccessToken({ accountId: subject.sub, client, grantId: subject.grantId, gty: 'token_exchange', scope });
    at.resourceServer = new provider.ResourceServer(target, info);
    if (dPoP) at.setThumbprint('jkt', dPoP.thumbprint);
    ctx.oidc.entity('AccessToken', at);
    ctx.body = { access_token: await at.save(), issued_token_type: T.at, token_type: at.tokenType, expires_in: at.expiration, scope };
  }, ['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'requested_token_type', 'audience', 'resource', 'scope']);
}
