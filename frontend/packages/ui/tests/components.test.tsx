import { act, cleanup, render, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { renderToString } from 'react-dom/server';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  AccessDenied,
  Button,
  DataTable,
  GlassCard,
  HeaderNav,
  LoginPanel,
  SessionExpiryDialog,
  Spinner,
  Toast,
  ToastProvider,
  UserMenu,
  useToast,
  type Column,
} from '../src/index.js';
import { expectNoViolations } from './support.js';

afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

const nothing = () => undefined;

describe('Button', () => {
  it('does nothing while busy, keeps the focus and says that it is busy', async () => {
    const onClick = vi.fn();
    render(<Button isBusy onClick={onClick}>Save</Button>);
    const button = screen.getByRole('button', { name: 'Save' });
    await userEvent.click(button);
    expect(onClick).not.toHaveBeenCalled();
    expect(button).toBe(document.activeElement);
    expect(button.getAttribute('aria-busy')).toBe('true');
  });

  it('does not send a form while busy', async () => {
    const onSubmit = vi.fn((event: { preventDefault: () => void }) => event.preventDefault());
    const { rerender } = render(<form onSubmit={onSubmit}><Button type="submit" isBusy>Save</Button></form>);
    await userEvent.click(screen.getByRole('button'));
    expect(onSubmit).not.toHaveBeenCalled();
    rerender(<form onSubmit={onSubmit}><Button type="submit">Save</Button></form>);
    await userEvent.click(screen.getByRole('button'));
    expect(onSubmit).toHaveBeenCalledTimes(1);
  });
});

describe('UserMenu', () => {
  const items = [{ label: 'My sessions', onSelect: vi.fn() }, { label: 'Log out', onSelect: vi.fn() }];
  const open = async () => {
    render(<UserMenu name="Alice Arden" detail="alice@example.com" items={items} />);
    await userEvent.click(screen.getByRole('button', { name: /Alice Arden/ }));
  };

  it('goes round with the arrow keys and closes with Escape', async () => {
    await open();
    expect(document.activeElement?.textContent).toBe('My sessions');
    await userEvent.keyboard('{ArrowDown}');
    expect(document.activeElement?.textContent).toBe('Log out');
    await userEvent.keyboard('{ArrowDown}');
    expect(document.activeElement?.textContent).toBe('My sessions');
    await userEvent.keyboard('{ArrowUp}');
    expect(document.activeElement?.textContent).toBe('Log out');
    await expectNoViolations();
    await userEvent.keyboard('{Escape}');
    expect(screen.queryByRole('menu')).toBeNull();
    expect(document.activeElement?.getAttribute('aria-haspopup')).toBe('menu');
  });

  it('does what was chosen and closes', async () => {
    await open();
    await userEvent.click(screen.getByRole('menuitem', { name: 'Log out' }));
    expect(items[1]?.onSelect).toHaveBeenCalledTimes(1);
    expect(screen.queryByRole('menu')).toBeNull();
  });

  it('closes when somebody presses elsewhere', async () => {
    await open();
    await userEvent.click(document.body);
    expect(screen.queryByRole('menu')).toBeNull();
  });

  it.each(['', '  ', '木村 拓哉', 'x'])('has something to show for the name %j', (name) => {
    render(<UserMenu name={name} items={items} />);
    expect(screen.getByRole('button').textContent).not.toBe('');
  });
});

describe('SessionExpiryDialog', () => {
  it('counts down and offers to stay or to leave', async () => {
    const [onRenew, onLogout] = [vi.fn(), vi.fn()];
    render(<SessionExpiryDialog isOpen expiresIn={65} onRenew={onRenew} onLogout={onLogout} />);
    expect(screen.getByRole('timer').textContent).toBe('1:05');
    await expectNoViolations();
    await userEvent.click(screen.getByRole('button', { name: 'Stay logged in' }));
    await userEvent.click(screen.getByRole('button', { name: 'Log out now' }));
    expect([onRenew.mock.calls.length, onLogout.mock.calls.length]).toEqual([1, 1]);
  });

  it('does not promise to stay when only a new login helps', () => {
    render(<SessionExpiryDialog isOpen expiresIn={65} canRenew={false} onRenew={nothing} onLogout={nothing} />);
    expect(screen.queryByRole('button', { name: 'Stay logged in' })).toBeNull();
  });

  it('gives the focus back', () => {
    const dialog = (isOpen: boolean) => (
      <>
        <button type="button">Before</button>
        <SessionExpiryDialog isOpen={isOpen} expiresIn={5} onRenew={nothing} onLogout={nothing} />
      </>
    );
    const { rerender } = render(dialog(false));
    screen.getByText('Before').focus();
    rerender(dialog(true));
    screen.getByText('Log out now').focus();
    rerender(dialog(false));
    expect(document.activeElement?.textContent).toBe('Before');
  });
});

describe('Toast', () => {
  it('goes by itself, but not while it is held', () => {
    vi.useFakeTimers();
    const onClose = vi.fn();
    render(<Toast onClose={onClose}>Saved.</Toast>);
    act(() => screen.getByRole('button').focus());
    act(() => void vi.advanceTimersByTime(60_000));
    expect(onClose).not.toHaveBeenCalled();
    act(() => screen.getByRole('button').blur());
    act(() => void vi.advanceTimersByTime(6_000));
    expect(onClose).toHaveBeenCalledTimes(1);
  });

  it('stays when it tells of an error', () => {
    vi.useFakeTimers();
    const onClose = vi.fn();
    render(<Toast kind="error" onClose={onClose}>Lost.</Toast>);
    act(() => void vi.advanceTimersByTime(3_600_000));
    expect(onClose).not.toHaveBeenCalled();
    expect(screen.getByRole('alert').textContent).toContain('Lost.');
  });

  it('is shown by whoever asks, and closed by hand', async () => {
    const Asker = () => {
      const toast = useToast();
      return <button type="button" onClick={() => toast('Saved.', { kind: 'success' })}>Save</button>;
    };
    render(<ToastProvider><Asker /></ToastProvider>);
    await userEvent.click(screen.getByText('Save'));
    await userEvent.click(screen.getByText('Save'));
    expect(screen.getAllByText('Saved.')).toHaveLength(2);
    await expectNoViolations();
    const [first] = screen.getAllByRole('button', { name: 'Close this note' });
    if (first) await userEvent.click(first);
    expect(screen.getAllByText('Saved.')).toHaveLength(1);
  });

  it('cannot be asked for without a place for it', () => {
    const Asker = () => (useToast(), null);
    vi.spyOn(console, 'error').mockImplementation(nothing);
    expect(() => render(<Asker />)).toThrow('There is no <ToastProvider>');
  });
});

describe('DataTable', () => {
  const columns: Column<{ id: number; title: string }>[] = [
    { key: 'id', header: 'Number', render: (row) => row.id, sortBy: (row) => row.id, align: 'end' },
    { key: 'title', header: 'Title', render: (row) => row.title, sortBy: (row) => row.title, isRowHeader: true },
  ];
  const rows = [{ id: 10, title: 'éclair' }, { id: 9, title: 'Form 10' }, { id: 1, title: 'form 2' }];
  const titles = () => screen.getAllByRole('rowheader').map((cell) => cell.textContent);

  it('sorts as people do, up and down, and says so', async () => {
    render(<DataTable caption="Forms" columns={columns} rows={rows} getKey={(row) => row.id} />);
    expect(titles()).toEqual(['éclair', 'Form 10', 'form 2']);
    await userEvent.click(screen.getByRole('button', { name: 'Title' }));
    expect(titles()).toEqual(['éclair', 'form 2', 'Form 10']);
    await userEvent.click(screen.getByRole('button', { name: 'Number' }));
    expect(titles()).toEqual(['form 2', 'Form 10', 'éclair']);
    await userEvent.click(screen.getByRole('button', { name: 'Number' }));
    expect(titles()).toEqual(['éclair', 'Form 10', 'form 2']);
    expect(screen.getByRole('columnheader', { name: 'Number' }).getAttribute('aria-sort')).toBe('descending');
    await expectNoViolations();
  });

  it('says when it loads and when there is nothing', () => {
    const { rerender } = render(<DataTable caption="Forms" columns={columns} rows={[]} getKey={(row) => row.id} isLoading />);
    expect(screen.getByRole('status').textContent).toBe('Loading: Forms');
    rerender(<DataTable caption="Forms" columns={columns} rows={[]} getKey={(row) => row.id} />);
    expect(screen.getByText('There is nothing here yet.')).toBeTruthy();
  });
});

it('the panels and the bar have names that screen readers find', async () => {
  render(
    <>
      <HeaderNav brand="EmpowerNow" items={[{ label: 'Forms', href: '/forms', isCurrent: true }]} />
      <main id="main">
        <LoginPanel onLogin={nothing} error="It did not help.">Log in to see your forms.</LoginPanel>
        <AccessDenied reason="Only its owner may." requestId="r-1" />
        <GlassCard title="Forms" actions={<Button>New</Button>}><Spinner /></GlassCard>
      </main>
    </>,
  );
  expect(screen.getByRole('link', { current: 'page' }).textContent).toBe('Forms');
  expect(screen.getByRole('region', { name: 'You may not do this' }).textContent).toContain('r-1');
  await expectNoViolations();
});

it('what a stranger sent is shown as text', () => {
  render(<AccessDenied reason={'<img src=x onerror="alert(1)">'} />);
  expect(document.querySelector('img')).toBeNull();
});

it('everything can be rendered on a server', () => {
  expect(renderToString(<ToastProvider><HeaderNav brand="b" /><SessionExpiryDialog isOpen expiresIn={1} onRenew={nothing} onLogout={nothing} /></ToastProvider>)).toContain('b');
});
