// One thing made wrong on the wire, as a relying-party conformance test does. Only with OP_TEST_HOOKS=1.
//
// POST /_test/mutate  {"id_token": {"set": {"iss": "x"}}}      DELETE /_test/mutate  puts all right again
//   id_token | jarm | logout_token : {set, drop, header, dropHeader, alg: 'none'|<alg>, key: 'foreign'|'hs-public', flip: true}
//   authz | token | userinfo | discovery | par : {set, drop}   (parameters of that response)
//   jwks : 'rotate' (a new key signs id_tokens and is all that /jwks has) | 'empty'
//   fail : {"/token": {"status": 503, "times": 1, "body": {...}, "delay_ms": 0}}     close: true cuts the connection
// Tokens are signed again with the provider's real keys after the change.
import crypto from 'node:crypto';
import { CompactSign, decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair, importJWK } from 'jose';
import { keys, publicJwks } from './keys.mjs';

let mutation = {};
export const currentFaults = () => mutation;
const b64u = (v) => Buffer.from(typeof v === 'string' ? v : JSON.stringify(v)).toString('base64url');
let rotated;
export async function remint(token, m) {
  const header = { ...decodeProtectedHeader(token), ...m.header };
  const payload = { ...decodeJwt(token), ...m.set };
  for (const k of m.drop ?? []) delete payload[k];
  if (m.alg) header.alg = m.alg;
  let jwk = keys.find((k) => k.kid === header.kid);
  if (m.alg && m.alg !== 'none') { jwk = keys.find((k) => k.alg === m.alg) ?? jwk; header.kid = jwk.kid; }
  if (mutation.jwks === 'rotate' && rotated) { jwk = rotated; header.kid = rotated.kid; header.alg = rotated.alg; }
  for (const k of m.dropHeader ?? []) delete header[k];
  if (m.alg === 'none') return `${b64u(header)}.${b64u(payload)}.`;
  if (m.key === 'hs-public') {                            // the public key used as an HMAC secret
    header.alg = 'HS256';
    const input = `${b64u(header)}.${b64u(payload)}`;
    return `${input}.${crypto.createHmac('sha256', JSON.stringify(publicJwks.keys[0])).update(input).digest('base64url')}`;
  }
  const key = m.key === 'foreign' ? (await generateKeyPair(header.alg)).privateKey : await importJWK(jwk, header.alg);
  const out = await new CompactSign(Buffer.from(JSON.stringify(payload))).setProtectedHeader(header).sign(key);
  if (!m.flip) return out;
  const [h, p, sig] = out.split('.');
  const bytes = Buffer.from(sig, 'base64url'); bytes[8] ^= 0xff;
  return `${h}.${p}.${bytes.toString('base64url')}`;
}
function edit(target, m) {
  for (const k of m.drop ?? []) delete target[k];
  return Object.assign(target, m.set);
}
export async function mutate(ctx, next) {
  const f = mutation.fail?.[ctx.path];
  if (f && f.times !== 0) {
    if (f.times) f.times -= 1;
    if (f.delay_ms) await new Promise((r) => { setTimeout(r, f.delay_ms); });
    if (f.close) { ctx.respond = false; ctx.req.socket.destroy(); return; }
    if (f.status) { ctx.status = f.status; ctx.body = f.body ?? ''; return; }
  }
  await next();
  const body = ctx.body && typeof ctx.body === 'object' ? ctx.body : undefined;
  switch (ctx.oidc?.route) {
    case 'token':
      if (body?.id_token && (mutation.id_token || mutation.jwks === 'rotate')) body.id_token = await remint(body.id_token, mutation.id_token ?? {});
      if (body?.access_token && mutation.token) edit(body, mutation.token);
      break;
    case 'authorization': case 'resume': {
      const location = ctx.response.get('location');
      if (!/^https?:/.test(location) || !(mutation.authz || mutation.jarm)) break; // the hop to the login page is relative
      const url = new URL(location);
      if (url.searchParams.has('response') && mutation.jarm) url.searchParams.set('response', await remint(url.searchParams.get('response'), mutation.jarm));
      if (mutation.authz && (url.searchParams.has('code') || url.searchParams.has('error') || url.searchParams.has('response'))) {
        for (const k of mutation.authz.drop ?? []) url.searchParams.delete(k);
        for (const [k, v] of Object.entries(mutation.authz.set ?? {})) url.searchParams.set(k, v);
      }
      ctx.set('location', url.href);
      break;
    }
    case 'userinfo': if (mutation.userinfo && body) edit(body, mutation.userinfo); break;
    case 'discovery': if (mutation.discovery && body) ctx.body = edit({ ...body }, mutation.discovery); break;
    case 'pushed_authorization_request': if (mutation.par && body) edit(body, mutation.par); break;
    case 'jwks':
      if (mutation.jwks === 'empty') ctx.body = { keys: [] };
      if (mutation.jwks === 'rotate' && rotated) { const { d, p, q, dp, dq, qi, ...pub } = rotated; ctx.body = { keys: [pub] }; }
      break;
    default:
  }
}
export async function setFaults(m) {
  mutation = m;
  rotated = undefined;
  if (m.jwks === 'rotate') {
    const alg = m.alg ?? 'ES256';
    rotated = { ...(await exportJWK((await generateKeyPair(alg, { extractable: true })).privateKey)), alg, use: 'sig', kid: `rotated-${crypto.randomUUID().slice(0, 8)}` };
  }
}
