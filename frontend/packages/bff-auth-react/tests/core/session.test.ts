import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeBff, json, loadCore, refusal } from '../support.js';

let bff: FakeBff;
let core: Awaited<ReturnType<typeof loadCore>>;
let stop: () => void = () => undefined;

beforeEach(async () => {
  vi.useFakeTimers();
  bff = new FakeBff();
  core = await loadCore();
});

afterEach(() => {
  stop();
  vi.useRealTimers();
});

const polls = () => bff.callsTo('/api/auth/session').map((call) => new URL(call.url).search);
const pass = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * 1000);

describe('a watched session', () => {
  it('counts as activity when the page opens, and not when it is polled', async () => {
    stop = core.watchSession({ pollSeconds: 60 });
    await pass(125);
    expect(polls()).toEqual(['', '?slide=false', '?slide=false']);
  });

  it('is not polled while nobody sees the page, and is asked about as soon as somebody does', async () => {
    stop = core.watchSession({ pollSeconds: 60 });
    await pass(1);
    const hidden = vi.spyOn(document, 'hidden', 'get').mockReturnValue(true);
    await pass(600);
    expect(polls()).toHaveLength(1);
    hidden.mockReturnValue(false);
    document.dispatchEvent(new Event('visibilitychange'));
    expect(polls()).toEqual(['', '?slide=false']);
  });

  it('is asked about once, however many watch', async () => {
    const others = [core.watchSession(), core.watchSession()];
    await pass(61);
    expect(polls()).toHaveLength(2);
    others.forEach((end) => end());
    await pass(600);
    expect(polls()).toHaveLength(2);
  });

  it('cannot be that of two BFFs at once', () => {
    stop = core.watchSession();
    core.setBaseUrl('http://localhost:8000/api');
    expect(() => core.watchSession()).toThrow(expect.objectContaining({ code: 'base_url_conflict' }));
  });
});

describe('the end of a session', () => {
  it('is told in time, once, after asking the BFF without sliding it', async () => {
    const onExpiring = vi.fn();
    bff.expiresIn = 300;
    stop = core.watchSession({ pollSeconds: 0, expiringSeconds: 120, onExpiring });
    await pass(179);
    expect(onExpiring).not.toHaveBeenCalled();
    bff.expiresIn = 119;
    await pass(3);
    expect(onExpiring).toHaveBeenCalledTimes(1);
    expect(polls().slice(1).every((query) => query === '?slide=false')).toBe(true);
    bff.expiresIn = 100;
    await pass(20);
    expect(onExpiring).toHaveBeenCalledTimes(1);
  });

  it('is not told when another tab has kept the session alive', async () => {
    const onExpiring = vi.fn();
    bff.expiresIn = 300;
    stop = core.watchSession({ pollSeconds: 0, onExpiring });
    await pass(250);
    expect(onExpiring).not.toHaveBeenCalled();
    expect(core.getSession().isExpiring).toBe(false);
  });

  it('goes by the seconds that the BFF tells, whatever the browser’s clock shows', async () => {
    bff.expiresIn = 300;
    stop = core.watchSession({ pollSeconds: 0 });
    await pass(1);
    vi.setSystemTime(new Date('2001-01-01T00:00:00Z'));
    await pass(60);
    expect(core.getSession().expiresIn).toBeGreaterThan(200);
    expect(core.getSession().isExpiring).toBe(false);
  });

  it('counts down by the second when it is near', async () => {
    bff.expiresIn = 300;
    stop = core.watchSession({ pollSeconds: 0 });
    await pass(1);
    bff.expiresIn = 100;
    await core.loadSession();
    await pass(5);
    expect(core.getSession().expiresIn).toBe(95);
  });

  it('is the end: the user is gone from the state', async () => {
    bff.expiresIn = 60;
    stop = core.watchSession({ pollSeconds: 0 });
    await pass(1);
    bff.user = null;
    await pass(60);
    expect(core.getSession()).toMatchObject({ status: 'anonymous', user: null, endedBy: 'expiry', expiresIn: 0 });
  });

  it('that cannot be put off is told as such', async () => {
    bff.absoluteExpiresIn = 200;
    bff.expiresIn = 200;
    await core.loadSession();
    expect(core.getSession().canRenew).toBe(false);
  });

  it('is put off by a renewal, which carries the CSRF token', async () => {
    await core.loadSession();
    await core.renewSession();
    expect(bff.callsTo('/api/auth/session/refresh')[0]?.headers.get('X-CSRF-Token')).toBe('csrf-1');
  });

  it('is put off although a login in another tab has changed the CSRF token', async () => {
    await core.loadSession();
    bff.csrfToken = 'csrf-2';
    expect(await core.renewSession()).toMatchObject({ status: 'authenticated', error: null });
    expect(polls()).toEqual(['?slide=false', '']);
  });
});

const FAULTS: [string, string, () => Response | Promise<Response>][] = [
  ['answers with a page', 'unexpected_answer', () => new Response('<!doctype html>', { headers: { 'Content-Type': 'text/html' } })],
  ['answers with broken JSON', 'unexpected_answer', () => new Response('{"authenticated": tr')],
  ['answers with JSON that is no session', 'unexpected_answer', () => json({ authenticated: true })],
  ['answers with a list', 'unexpected_answer', () => json([])],
  ['answers 500 without a body', 'http_error', () => new Response(null, { status: 500 })],
  ['answers 502 with a page of the edge', 'http_error', () => new Response('<h1>Bad Gateway</h1>', { status: 502 })],
  ['answers 401 from somewhere else', 'http_error', () => json({}, { status: 401 })],
  ['cannot reach its store', 'store_unavailable', () => refusal(503, 'store_unavailable')],
  ['cannot be reached', 'network_error', () => Promise.reject(new TypeError('Failed to fetch'))],
  ['does not answer', 'timeout', () => new Promise(() => undefined)],
];

describe.each(FAULTS)('a BFF that %s', (_, code, answer) => {
  it(`is the error ${code}, and no login`, async () => {
    bff.on('GET /api/auth/session', answer);
    const loading = core.loadSession();
    await pass(11);
    expect(await loading).toMatchObject({ status: 'unreachable', error: { code, name: 'BffError' } });
    expect(core.goTo).not.toHaveBeenCalled();
  });

  it('logs nobody out, and is asked again', async () => {
    stop = core.watchSession({ pollSeconds: 60 });
    await pass(1);
    const tell = () => bff.tellSession();
    bff.on('GET /api/auth/session', answer);
    await pass(75);
    expect(core.getSession()).toMatchObject({ status: 'authenticated', user: { id: 'alice' }, error: { code } });
    bff.on('GET /api/auth/session', tell);
    await pass(75);
    expect(core.getSession()).toMatchObject({ status: 'authenticated', error: null });
  });
});

it('an answer that was asked for before the logout brings nobody back', async () => {
  let answer: (response: Response) => void = () => undefined;
  await core.loadSession();
  bff.on('GET /api/auth/session', () => new Promise((resolve) => (answer = resolve)));
  bff.on('POST /auth/logout', () => json({ logout_url: null }));
  const loading = core.loadSession();
  await core.logout();
  answer(bff.tellSession());
  await loading;
  expect(core.getSession()).toMatchObject({ status: 'anonymous', user: null, endedBy: 'logout' });
});

it('a page that the browser brings back shows nobody’s things before the BFF has been asked', async () => {
  stop = core.watchSession();
  await pass(1);
  const event = new Event('pageshow');
  Object.assign(event, { persisted: true });
  window.dispatchEvent(event);
  expect(core.getSession().status).toBe('loading');
  await pass(0);
  expect(core.getSession().status).toBe('authenticated');
});

it('nothing is left in the browser, and no state holds the CSRF token', async () => {
  await core.loadSession();
  expect(localStorage).toHaveLength(0);
  expect(JSON.stringify(core.getSession())).not.toContain('csrf-1');
});
