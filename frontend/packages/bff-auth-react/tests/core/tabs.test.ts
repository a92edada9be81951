import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeBff, json, loadCore } from '../support.js';

let bff: FakeBff;
let one: Awaited<ReturnType<typeof loadCore>>;
let other: Awaited<ReturnType<typeof loadCore>>;
let stops: (() => void)[];

/** Two tabs: each has loaded the SDK for itself, and both have the cookie of one browser. */
beforeEach(async () => {
  bff = new FakeBff();
  bff.on('POST /auth/logout', () => {
    bff.user = null;
    return json({ logout_url: '/auth/logout/continue?ticket=t' });
  });
  [one, other] = [await loadCore(), await loadCore()];
});

const watch = async () => {
  stops = [one.watchSession(), other.watchSession()];
  await vi.waitFor(() => expect([one, other].map((tab) => tab.getSession().status)).not.toContain('loading'));
};

afterEach(() => stops.forEach((stop) => stop()));

describe('in two tabs of one browser', () => {
  it('a logout in one is a logout in both, and takes nobody to the login', async () => {
    await watch();
    await one.logout({ returnTo: '/bye' });
    await vi.waitFor(() => expect(other.getSession()).toMatchObject({ status: 'anonymous', user: null, endedBy: 'logout' }));
    expect(other.goTo).not.toHaveBeenCalled();
    expect(one.goTo.mock.calls).toEqual([['https://app.example.com/auth/logout/continue?ticket=t']]);
  });

  it('a login in one is a login in both', async () => {
    bff.user = null;
    await watch();
    bff.user = { id: 'alice' };
    await one.loadSession();
    await vi.waitFor(() => expect(other.getSession().user?.id).toBe('alice'));
  });

  it('a login as somebody else shows in both who it is now', async () => {
    await watch();
    bff.user = { id: 'bob' };
    bff.csrfToken = 'csrf-of-bob';
    await one.loadSession();
    await vi.waitFor(() => expect(other.getSession().user?.id).toBe('bob'));
  });

  it('what they tell each other holds no token', async () => {
    const told = vi.spyOn(BroadcastChannel.prototype, 'postMessage');
    await watch();
    await one.logout();
    expect(told).toHaveBeenCalled();
    expect(JSON.stringify(told.mock.calls)).not.toContain('csrf-1');
  });
});
