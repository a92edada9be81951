// Where the provider keeps what it knows: in memory, until it expires. Its own memory holds a thousand entries, and a busy
// test makes more than that in the seconds of one login; what is forgotten then is a code, or a grant that still lives.
const entries = new Map();
// What goes with the grant it belongs to.
const grantable = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken', 'DeviceCode', 'BackchannelAuthenticationRequest']);

function find(key) {
  const entry = entries.get(key);
  if (entry && entry.expiresAt <= Date.now()) entries.delete(key);
  return entries.get(key)?.value;
}
function put(key, value, expiresIn) {
  entries.set(key, { value, expiresAt: expiresIn === undefined ? Infinity : Date.now() + expiresIn * 1000 });
}
setInterval(() => {
  const now = Date.now();
  for (const [key, { expiresAt }] of entries) if (expiresAt <= now) entries.delete(key);
}, 10_000).unref();

export class Memory {
  constructor(model) { this.model = model; }

  key(id) { return `${this.model}:${id}`; }

  async upsert(id, payload, expiresIn) {
    const { grantId, uid, userCode } = payload;
    if (this.model === 'Session') put(`uid:${uid}`, id, expiresIn);
    if (userCode) put(`userCode:${userCode}`, id, expiresIn);
    if (grantId && grantable.has(this.model)) {
      const members = find(`grant:${grantId}`) ?? new Set();
      members.add(this.key(id));
      put(`grant:${grantId}`, members);
    }
    put(this.key(id), payload, expiresIn);
  }

  async find(id) { return find(this.key(id)); }

  async findByUid(uid) { return this.find(find(`uid:${uid}`)); }

  async findByUserCode(userCode) { return this.find(find(`userCode:${userCode}`)); }

  async consume(id) {
    const payload = find(this.key(id));
    if (payload) payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) { entries.delete(this.key(id)); }

  async revokeByGrantId(grantId) {
    for (const key of find(`grant:${grantId}`) ?? []) entries.delete(key);
    entries.delete(`grant:${grantId}`);
  }
}
