// The provider's signing keys, new at every start: one of each algorithm that a client may ask for.
import crypto from 'node:crypto';
import { exportJWK, generateKeyPair } from 'jose';

export const keys = [];
for (const [alg, opts] of [['RS256', { modulusLength: 2048 }], ['PS256', { modulusLength: 2048 }], ['ES256', {}], ['EdDSA', { crv: 'Ed25519' }]]) {
  const { privateKey } = await generateKeyPair(alg, { ...opts, extractable: true });
  keys.push({ ...(await exportJWK(privateKey)), alg, use: 'sig', kid: `${alg.toLowerCase()}-${crypto.randomUUID().slice(0, 8)}` });
}
export const publicJwks = { keys: keys.map(({ d, p, q, dp, dq, qi, ...pub }) => pub) };
