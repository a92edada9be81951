import { cleanup, render, screen, waitFor } from '@testing-library/react';
import { Component, StrictMode, type ReactNode } from 'react';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeBff, json, loadCore, refusal } from '../support.js';

let bff: FakeBff;
let core: Awaited<ReturnType<typeof loadCore>>;
let sdk: typeof import('../../src/index.js');

beforeEach(async () => {
  sessionStorage.clear();
  bff = new FakeBff();
  core = await loadCore();
  sdk = await import('../../src/index.js');
});

afterEach(cleanup);

const show = (children: ReactNode, props: object = {}) =>
  render(
    <StrictMode>
      <sdk.AuthProvider {...props}>{children}</sdk.AuthProvider>
    </StrictMode>,
  );

const Name = () => <p>{sdk.useAuth().user?.name ?? 'nobody'}</p>;

describe('AuthGuard', () => {
  it('shows what it guards to users, and the loading part before', async () => {
    show(<sdk.AuthGuard loading="Loading"><Name /></sdk.AuthGuard>);
    expect(screen.getByText('Loading')).toBeTruthy();
    expect(await screen.findByText('Alice')).toBeTruthy();
  });

  it('takes everybody else to the login once, and shows nothing of it', async () => {
    bff.user = null;
    show(<sdk.AuthGuard loading="Loading">private</sdk.AuthGuard>);
    await waitFor(() => expect(core.goTo).toHaveBeenCalledTimes(1));
    expect(screen.queryByText('private')).toBeNull();
    expect(screen.getByText('Loading')).toBeTruthy();
  });

  it('shows its fallback in place of the way to the login', async () => {
    bff.user = null;
    show(<sdk.AuthGuard fallback="Please log in">private</sdk.AuthGuard>);
    expect(await screen.findByText('Please log in')).toBeTruthy();
    expect(core.goTo).not.toHaveBeenCalled();
  });

  it('says what is wrong when a login did not help, with a way to try again', async () => {
    sessionStorage.setItem('bff:automatic-login-at', String(Date.now()));
    bff.user = null;
    show(<sdk.AuthGuard>private</sdk.AuthGuard>);
    expect((await screen.findByRole('alert')).textContent).toContain('login_loop');
    expect(core.goTo).not.toHaveBeenCalled();
    screen.getByRole('button', { name: 'Log in again' }).click();
    expect(core.goTo).toHaveBeenCalledTimes(1);
  });

  it('says so when the BFF fails, takes nobody to the login, and tries again on request', async () => {
    const tell = () => bff.tellSession();
    bff.on('GET /api/auth/session', () => refusal(503, 'store_unavailable'));
    show(<sdk.AuthGuard><Name /></sdk.AuthGuard>);
    expect((await screen.findByRole('alert')).textContent).toContain('store_unavailable');
    expect(core.goTo).not.toHaveBeenCalled();
    bff.on('GET /api/auth/session', tell);
    screen.getByRole('button', { name: 'Try again' }).click();
    expect(await screen.findByText('Alice')).toBeTruthy();
  });

  it('takes nobody to the login who has just logged out', async () => {
    bff.on('POST /auth/logout', () => json({ logout_url: null }));
    show(<sdk.AuthGuard><Name /></sdk.AuthGuard>);
    await screen.findByText('Alice');
    await core.logout();
    expect(await screen.findByText('You are logged out.')).toBeTruthy();
    expect(screen.queryByText('Alice')).toBeNull();
    expect(core.goTo.mock.calls).toEqual([['https://app.example.com/']]);
  });
});

describe('AuthProvider', () => {
  it('says where the BFF is before any child makes a call', async () => {
    const Caller = () => {
      void sdk.fetchWithAuth('/forms');
      return null;
    };
    show(<Caller />, { baseUrl: 'http://localhost:8000/api' });
    await waitFor(() => expect(bff.calls.length).toBeGreaterThan(1));
    expect(new Set(bff.calls.map(({ url }) => new URL(url).origin))).toEqual(new Set(['http://localhost:8000']));
  });

  it('that names no BFF leaves the one that was named', async () => {
    sdk.setBaseUrl('http://localhost:8000/api');
    show(<Name />);
    await screen.findByText('Alice');
    expect(bff.calls.map(({ url }) => new URL(url).origin)).toEqual(['http://localhost:8000']);
  });

  it('may be there twice, and asks the BFF as often as one', async () => {
    show(<sdk.AuthProvider><Name /></sdk.AuthProvider>);
    await screen.findByText('Alice');
    expect(bff.callsTo('/api/auth/session')).toHaveLength(1);
  });

  it('of another BFF on the same page is a clear error', () => {
    const caught: unknown[] = [];
    class Boundary extends Component<{ children: ReactNode }> {
      override state = { failed: false };
      static getDerivedStateFromError = () => ({ failed: true });
      override componentDidCatch(error: unknown) {
        caught.push(error);
      }
      override render() {
        return this.state.failed ? 'failed' : this.props.children;
      }
    }
    vi.spyOn(console, 'error').mockImplementation(() => undefined);
    render(
      <Boundary>
        <sdk.AuthProvider baseUrl="/api" />
        <sdk.AuthProvider baseUrl="http://localhost:8000" />
      </Boundary>,
    );
    expect(caught).toEqual([expect.objectContaining({ code: 'base_url_conflict' })]);
  });

  it('is missed by name', () => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined);
    expect(() => render(<Name />)).toThrow('There is no <AuthProvider>');
  });

  it('can be rendered on a server, where nobody is known yet', () => {
    expect(renderToString(<sdk.AuthProvider><sdk.AuthGuard loading="Loading">private</sdk.AuthGuard></sdk.AuthProvider>)).toBe('Loading');
  });

  it('calls back with the newest handler when the session is about to expire', async () => {
    const [old, latest] = [vi.fn(), vi.fn()];
    bff.expiresIn = 1800;
    const page = (onExpiring: () => void) => <sdk.AuthProvider onExpiring={onExpiring}><Name /></sdk.AuthProvider>;
    const { rerender } = render(page(old));
    await screen.findByText('Alice');
    rerender(page(latest));
    bff.expiresIn = 60;
    await core.loadSession();
    expect([old.mock.calls.length, latest.mock.calls.length]).toEqual([0, 1]);
  });
});

describe('permissions', () => {
  beforeEach(() => {
    bff.on('POST /access/v1/evaluations', ({ body }) => {
      const { evaluations } = JSON.parse(body as string) as { evaluations: { action: { name: string } }[] };
      return json({ evaluations: evaluations.map(({ action }) => ({ decision: action.name === 'update' })) });
    });
    bff.on('GET /api/me/capabilities', () => json({ actions: ['read', 'update'] }));
  });

  it('gates show what is allowed, ask together, and show nothing before', async () => {
    show(
      <>
        <sdk.PermissionGate action="update" resource="form" id="1" fallback="no update">update</sdk.PermissionGate>
        <sdk.PermissionGate action="delete" resource="form" id="1" fallback="no delete">delete</sdk.PermissionGate>
      </>,
    );
    expect(await screen.findByText(/update/)).toBeTruthy();
    expect(document.body.textContent).toBe('updateno delete');
    expect(bff.callsTo('/access/v1/evaluations')).toHaveLength(1);
  });

  it('are not asked for nobody', async () => {
    bff.user = null;
    show(<sdk.PermissionGate action="update" resource="form" fallback="no">yes</sdk.PermissionGate>);
    expect(await screen.findByText('no')).toBeTruthy();
    expect(bff.callsTo('/access/v1/evaluations')).toHaveLength(0);
  });

  it('without an answer are not allowed, and tell why', async () => {
    bff.on('POST /access/v1/evaluations', () => refusal(503, 'pdp_unavailable'));
    const Asker = () => {
      const { allowed, error } = sdk.usePermission({ action: 'update', resource: 'form' });
      return `${allowed} ${error?.code ?? ''}`;
    };
    show(<Asker />);
    expect(await screen.findByText('false pdp_unavailable')).toBeTruthy();
  });

  it('come as a list of actions too', async () => {
    const Asker = () => {
      const { can, isLoading } = sdk.useCapabilities('form', '1');
      return isLoading ? 'loading' : `${can('update')} ${can('delete')}`;
    };
    show(<Asker />);
    expect(await screen.findByText('true false')).toBeTruthy();
  });

  it('of the question before are never shown for another one', async () => {
    const gate = (action: string) => (
      <sdk.AuthProvider>
        <sdk.PermissionGate action={action} resource="form" loading="loading" fallback="no">yes</sdk.PermissionGate>
      </sdk.AuthProvider>
    );
    const { rerender } = render(gate('update'));
    expect(await screen.findByText('yes')).toBeTruthy();
    rerender(gate('delete'));
    expect(document.body.textContent).toBe('loading');
    expect(await screen.findByText('no')).toBeTruthy();
  });

  it('of a component that has gone hurt nobody', async () => {
    let answer: (response: Response) => void = () => undefined;
    bff.on('POST /access/v1/evaluations', () => new Promise((resolve) => (answer = resolve)));
    const { unmount } = show(<sdk.PermissionGate action="update" resource="form">yes</sdk.PermissionGate>);
    await waitFor(() => expect(bff.callsTo('/access/v1/evaluations')).toHaveLength(1));
    unmount();
    answer(refusal(500, 'internal_error'));
    await new Promise((resolve) => setTimeout(resolve));
  });
});
