import { beforeEach, describe, expect, it } from 'vitest';
import { FakeBff, json, loadCore, refusal } from '../support.js';

let bff: FakeBff;
let core: Awaited<ReturnType<typeof loadCore>>;

beforeEach(async () => {
  sessionStorage.clear();
  bff = new FakeBff();
  core = await loadCore();
});

const goneTo = () => core.goTo.mock.calls.map(([address]) => address);

describe('the login', () => {
  it('leads back to the page it was asked for on', () => {
    core.login();
    expect(goneTo()).toEqual(['https://app.example.com/auth/login?return_to=%2F']);
  });

  it('takes parameters for the identity provider', () => {
    core.login({ returnTo: '/forms?x=1', parameters: { prompt: 'login', max_age: '0' } });
    expect(goneTo()).toEqual(['https://app.example.com/auth/login?prompt=login&max_age=0&return_to=%2Fforms%3Fx%3D1']);
  });

  it('of a BFF on another origin leads back to an absolute address', () => {
    core.setBaseUrl('http://localhost:8000/api');
    core.login({ returnTo: '/forms' });
    expect(goneTo()).toEqual(['http://localhost:8000/auth/login?return_to=https%3A%2F%2Fapp.example.com%2Fforms']);
  });

  it('goes to the address that the BFF names', async () => {
    bff.user = null;
    bff.loginUrl = 'https://bff.example.com/auth/login';
    await core.loadSession();
    core.login({ returnTo: '/forms' });
    expect(goneTo()).toEqual(['https://bff.example.com/auth/login?return_to=https%3A%2F%2Fapp.example.com%2Fforms']);
  });

  it('never goes to an address that is a script', async () => {
    bff.user = null;
    bff.loginUrl = 'javascript:alert(1)';
    await core.loadSession();
    expect(() => core.login()).toThrow(expect.objectContaining({ code: 'unexpected_answer' }));
    expect(goneTo()).toEqual([]);
  });

  it('cuts off a query that is too long for the BFF', () => {
    core.login({ returnTo: `/forms?q=${'x'.repeat(3000)}` });
    expect(goneTo()).toEqual(['https://app.example.com/auth/login?return_to=%2Fforms']);
  });
});

const STRANGERS = [
  'https://evil.example/',
  '//evil.example/',
  '/\\evil.example/',
  '\\\\evil.example',
  '/\t/evil.example',
  'https://app.example.com.evil.example/',
  'https://app.example.com@evil.example/',
  'http://app.example.com/',
  'javascript:alert(1)',
  'data:text/html,x',
  'https://',
];

describe.each(STRANGERS)('the return address %j', (returnTo) => {
  it('is refused', async () => {
    expect(() => core.login({ returnTo })).toThrow(expect.objectContaining({ code: 'unsafe_return_to' }));
    await expect(core.logout({ returnTo })).rejects.toMatchObject({ code: 'unsafe_return_to' });
    expect([goneTo(), bff.calls]).toEqual([[], []]);
  });

  it('out of the address bar becomes a path of ours', () => {
    expect(core.findReturnPath(returnTo, '/home')).toBe('/home');
  });
});

it('a return address of ours is kept', () => {
  expect(core.findReturnPath('/forms/1?x=1#y')).toBe('/forms/1?x=1#y');
  expect(core.findReturnPath(null)).toBe('/');
});

describe('the logout', () => {
  it('asks for the CSRF token first if need be, and goes where the BFF says', async () => {
    bff.on('POST /auth/logout', () => json({ logout_url: 'https://app.example.com/auth/logout/continue?ticket=t' }));
    await core.logout({ returnTo: '/bye' });
    expect(bff.callsTo('/auth/logout').map(({ body, headers }) => [body, headers.get('X-CSRF-Token')])).toEqual([
      ['{"return_to":"/bye"}', 'csrf-1'],
    ]);
    expect(goneTo()).toEqual(['https://app.example.com/auth/logout/continue?ticket=t']);
  });

  it('goes back at once when there is nothing to end at the provider', async () => {
    bff.on('POST /auth/logout', () => json({ logout_url: null }));
    await core.logout({ returnTo: '/bye' });
    expect(goneTo()).toEqual(['https://app.example.com/bye']);
  });

  it('is followed by a login that nobody takes for a loop', async () => {
    sessionStorage.setItem('bff:automatic-login-at', String(Date.now()));
    bff.on('POST /auth/logout', () => json({ logout_url: null }));
    await core.logout();
    expect(sessionStorage).toHaveLength(0);
  });

  it.each([
    ['store_unavailable', () => refusal(503, 'store_unavailable')],
    ['network_error', () => Promise.reject(new TypeError('Failed to fetch'))],
    ['unexpected_answer', () => new Response('<!doctype html>', { headers: { 'Content-Type': 'text/html' } })],
  ])('that fails with %s fails loudly: the user is still logged in', async (code, answer) => {
    await core.loadSession();
    bff.on('POST /auth/logout', answer);
    await expect(core.logout()).rejects.toMatchObject({ code });
    expect(core.getSession().status).toBe('authenticated');
    expect(goneTo()).toEqual([]);
  });

  it('of a session that has ended by itself is done', async () => {
    await core.loadSession();
    bff.user = null;
    bff.on('POST /auth/logout', () => refusal(403, 'csrf_failed'));
    await core.logout();
    expect(goneTo()).toEqual(['https://app.example.com/']);
  });
});
