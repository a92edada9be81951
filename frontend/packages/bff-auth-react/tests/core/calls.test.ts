import { beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeBff, guarded, json, loadCore, refusal } from '../support.js';

let bff: FakeBff;
let core: Awaited<ReturnType<typeof loadCore>>;

beforeEach(async () => {
  sessionStorage.clear();
  bff = new FakeBff();
  core = await loadCore();
});

const login = (returnTo = '/') => `https://app.example.com/auth/login?return_to=${encodeURIComponent(returnTo)}`;

describe('a call', () => {
  it('carries the cookie and, when it changes something, the CSRF token', async () => {
    bff.on('GET /api/forms', () => json([]));
    bff.on('POST /api/forms', () => json({ id: 1 }, { status: 201 }));
    await core.fetchWithAuth('/forms');
    const answer = await core.fetchWithAuth('/forms', { method: 'post', body: '{}' });
    expect(answer.status).toBe(201);
    const [get, post] = bff.callsTo('/api/forms');
    expect([get?.credentials, get?.headers.get('X-CSRF-Token')]).toEqual(['include', null]);
    expect([post?.credentials, post?.headers.get('X-CSRF-Token')]).toEqual(['include', 'csrf-1']);
  });

  it('to another site is an ordinary fetch that takes nothing along', async () => {
    await core.loadSession();
    await core.fetchWithAuth('https://elsewhere.example/api/forms', { method: 'POST' });
    await core.fetchWithAuth('//elsewhere.example/api/forms', { method: 'POST' });
    for (const call of bff.callsTo('/api/forms')) {
      expect([call.credentials, call.headers.get('X-CSRF-Token')]).toEqual([undefined, null]);
    }
    expect(bff.callsTo('/api/forms')).toHaveLength(2);
  });

  it('may be a Request, which is sent with its method, headers and body', async () => {
    bff.on('PUT /api/forms/1', async (call) => json({ got: await new Response(call.body).text(), kind: call.headers.get('X-Kind') }));
    const request = new Request('https://app.example.com/api/forms/1', { method: 'PUT', body: 'text', headers: { 'X-Kind': 'a' } });
    const answer = await core.fetchWithAuth(request);
    expect(await answer.json()).toEqual({ got: 'text', kind: 'a' });
  });

  it('that the decision point refuses is handed to the page, and nobody is sent to the login', async () => {
    bff.on('GET /api/forms', () => refusal(403, 'access_denied'));
    expect((await core.fetchWithAuth('/forms')).status).toBe(403);
    expect(bff.callsTo('/api/forms')).toHaveLength(1);
    expect(core.goTo).not.toHaveBeenCalled();
  });
});

describe('a call refused for its CSRF token', () => {
  it('is made again once with a fresh one', async () => {
    bff.on('POST /api/forms', () => json({ id: 1 }));
    await core.loadSession();
    bff.csrfToken = 'csrf-2'; // a login in another tab
    expect((await core.fetchWithAuth('/forms', { method: 'POST' })).status).toBe(200);
    expect(bff.callsTo('/api/forms').map((call) => call.headers.get('X-CSRF-Token'))).toEqual(['csrf-1', 'csrf-2']);
  });

  it('is not made again when there is no newer one', async () => {
    bff.on('POST /api/forms', () => refusal(403, 'csrf_failed'));
    expect((await core.fetchWithAuth('/forms', { method: 'POST' })).status).toBe(403);
    expect(bff.callsTo('/api/forms')).toHaveLength(1);
  });

  it('is made again no more than once', async () => {
    await core.loadSession();
    let turn = 1;
    bff.on('POST /api/forms', () => {
      bff.csrfToken = `csrf-${++turn}`;
      return refusal(403, 'csrf_failed');
    });
    bff.csrfToken = 'csrf-1';
    expect((await core.fetchWithAuth('/forms', { method: 'POST' })).status).toBe(403);
    expect(bff.callsTo('/api/forms')).toHaveLength(2);
  });

  it('is not made again when its body is a stream, which can be read only once', async () => {
    bff.on('POST /api/forms', () => json({}));
    await core.loadSession();
    bff.csrfToken = 'csrf-2';
    const body = new ReadableStream({ start: (controller) => controller.close() });
    expect((await core.fetchWithAuth('/forms', { method: 'POST', body })).status).toBe(403);
    expect(bff.callsTo('/api/forms')).toHaveLength(1);
  });
});

describe('a 401 of the BFF', () => {
  it('leads to the login, with the way back', async () => {
    history.replaceState(null, '', '/forms/7?tab=2#notes');
    bff.user = null;
    bff.on('GET /api/forms', guarded(bff, () => json([])));
    expect((await core.fetchWithAuth('/forms')).status).toBe(401);
    expect(core.goTo.mock.calls).toEqual([[login('/forms/7?tab=2#notes')]]);
    expect(core.getSession().status).toBe('anonymous');
    history.replaceState(null, '', '/');
  });

  it('does not when another tab has logged in again: the call is repeated', async () => {
    let isFirst = true;
    bff.on('GET /api/forms', () => {
      const answer = isFirst ? refusal(401, 'session_expired') : json(['a']);
      isFirst = false;
      return answer;
    });
    expect(await (await core.fetchWithAuth('/forms')).json()).toEqual(['a']);
    expect(core.goTo).not.toHaveBeenCalled();
  });

  it('that repeats although there is a session is not repeated for ever', async () => {
    bff.on('GET /api/forms', () => refusal(401, 'session_expired'));
    expect((await core.fetchWithAuth('/forms')).status).toBe(401);
    expect(bff.callsTo('/api/forms')).toHaveLength(2);
    expect(core.goTo).toHaveBeenCalledTimes(1);
  });

  it('that asks for a stronger login leads to the login it names, and is not repeated', async () => {
    const loginUrl = 'https://app.example.com/auth/login?max_age=60&acr_values=mfa';
    bff.on('GET /api/forms', () => refusal(401, 'insufficient_user_authentication', { login_url: loginUrl }));
    await core.fetchWithAuth('/forms');
    expect(bff.callsTo('/api/forms')).toHaveLength(1);
    expect(core.goTo.mock.calls).toEqual([[`${loginUrl}&return_to=%2F`]]);
  });

  it('about a bearer token is the page’s own affair', async () => {
    bff.on('GET /api/forms', () => refusal(401, 'token_invalid'));
    expect((await core.fetchWithAuth('/forms')).status).toBe(401);
    expect(core.goTo).not.toHaveBeenCalled();
  });

  it('only fails where automatic logins are switched off', async () => {
    core.setAutomaticLogin(false);
    bff.user = null;
    bff.on('GET /api/forms', guarded(bff, () => json([])));
    expect((await core.fetchWithAuth('/forms')).status).toBe(401);
    expect(core.goTo).not.toHaveBeenCalled();
  });

  it('of several calls at once leads to the login once, and is no loop', async () => {
    bff.user = null;
    bff.on('GET /api/forms', guarded(bff, () => json([])));
    await Promise.all([1, 2, 3, 4].map(() => core.fetchWithAuth('/forms')));
    expect(core.goTo).toHaveBeenCalledTimes(1);
    expect(core.getSession().error).toBeNull();
  });
});

it('a 401 of a backend does not lead to the login', async () => {
  bff.on('GET /api/forms', () => json({ code: 'not_authenticated' }, { status: 401 }));
  expect((await core.fetchWithAuth('/forms')).status).toBe(401);
  expect(core.goTo).not.toHaveBeenCalled();
  await expect(core.apiClient.get('/forms')).rejects.toMatchObject({ code: 'http_error', status: 401 });
});

describe('a login that does not help', () => {
  beforeEach(() => {
    bff.user = null;
    bff.on('GET /api/forms', guarded(bff, () => json([])));
  });

  it('is tried automatically once a minute, then the session tells what is wrong', async () => {
    await core.fetchWithAuth('/forms');
    const nextPage = await loadCore();
    await nextPage.fetchWithAuth('/forms');
    expect(nextPage.goTo).not.toHaveBeenCalled();
    expect(nextPage.getSession()).toMatchObject({ status: 'anonymous', error: { code: 'login_loop' } });
  });

  it('can still be tried by hand', async () => {
    await core.fetchWithAuth('/forms');
    const nextPage = await loadCore();
    await nextPage.fetchWithAuth('/forms');
    nextPage.login();
    expect(nextPage.goTo).toHaveBeenCalledTimes(1);
  });

  it('is tried again after a minute', async () => {
    sessionStorage.setItem('bff:automatic-login-at', String(Date.now() - 60_001));
    await core.fetchWithAuth('/forms');
    expect(core.goTo).toHaveBeenCalledTimes(1);
  });

  it('is tried when the clock was put back since, for nobody knows how long ago the last one was', async () => {
    sessionStorage.setItem('bff:automatic-login-at', String(Date.now() + 3_600_000));
    await core.fetchWithAuth('/forms');
    expect(core.goTo).toHaveBeenCalledTimes(1);
  });

  it('is not tried where the browser refuses storage, and so is likely to refuse the cookie', async () => {
    vi.spyOn(Storage.prototype, 'getItem').mockImplementation(() => {
      throw new DOMException('denied', 'SecurityError');
    });
    await core.fetchWithAuth('/forms');
    expect(core.goTo).not.toHaveBeenCalled();
    expect(core.getSession().error?.code).toBe('login_loop');
  });
});
