import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeBff, loadCore, refusal } from './support.js';

class FakeEventSource extends EventTarget {
  static readonly CLOSED = 2;
  static opened: FakeEventSource[] = [];
  readyState = 0;
  onopen = () => undefined;
  onerror = () => undefined;
  constructor(
    readonly address: string,
    readonly options: { withCredentials: boolean },
  ) {
    super();
    FakeEventSource.opened.push(this);
  }
  close() {
    this.readyState = 2;
  }
  refuse() {
    this.readyState = 2;
    this.onerror();
  }
}

class FakeWebSocket extends EventTarget {
  constructor(
    readonly address: string,
    readonly protocols?: string | string[],
  ) {
    super();
  }
}

let bff: FakeBff;
let core: Awaited<ReturnType<typeof loadCore>>;
let live: typeof import('../src/live.js');
const onEvent = vi.fn();
let statuses: string[];
let codes: string[];

beforeEach(async () => {
  vi.useFakeTimers();
  sessionStorage.clear();
  FakeEventSource.opened = [];
  [statuses, codes] = [[], []];
  vi.stubGlobal('EventSource', FakeEventSource);
  vi.stubGlobal('WebSocket', FakeWebSocket);
  bff = new FakeBff();
  core = await loadCore();
  live = await import('../src/live.js');
});

afterEach(() => {
  vi.useRealTimers();
});

const open = () =>
  live.createEventSource('/crud/events', {
    events: ['form.changed'],
    onEvent,
    onStatus: (status) => statuses.push(status),
    onError: (error) => codes.push(error.code),
  });
const newest = () => FakeEventSource.opened.at(-1) as unknown as FakeEventSource;

describe('a stream of events', () => {
  it('is opened at the BFF with the cookie, and hands over plain and named events', () => {
    const feed = open();
    expect([newest().address, newest().options]).toEqual(['https://app.example.com/api/crud/events', { withCredentials: true }]);
    newest().onopen();
    newest().dispatchEvent(new MessageEvent('message', { data: '1' }));
    newest().dispatchEvent(new MessageEvent('form.changed', { data: '2' }));
    expect(onEvent.mock.calls.map(([event]) => (event as MessageEvent<string>).data)).toEqual(['1', '2']);
    feed.close();
    expect([newest().readyState, statuses]).toEqual([2, ['connecting', 'open', 'closed']]);
  });

  it('that is cut is left to the browser, which connects again by itself', async () => {
    const feed = open();
    newest().onerror();
    await vi.advanceTimersByTimeAsync(60_000);
    expect([FakeEventSource.opened.length, statuses]).toEqual([1, ['connecting', 'reconnecting']]);
    feed.close();
  });

  it('that is refused is opened again, later each time', async () => {
    const feed = open();
    for (const seconds of [1, 2, 4]) {
      newest().refuse();
      const before = FakeEventSource.opened.length;
      await vi.advanceTimersByTimeAsync(seconds * 499);
      expect(FakeEventSource.opened).toHaveLength(before);
      await vi.advanceTimersByTimeAsync(seconds * 600);
      expect(FakeEventSource.opened).toHaveLength(before + 1);
    }
    expect(codes).toEqual(['http_error', 'http_error', 'http_error']);
    feed.close();
  });

  it('that is refused because the BFF fails says so and logs nobody out', async () => {
    bff.on('GET /api/auth/session', () => refusal(503, 'store_unavailable'));
    const feed = open();
    newest().refuse();
    await vi.advanceTimersByTimeAsync(2000);
    expect([codes, FakeEventSource.opened.length]).toEqual([['store_unavailable'], 2]);
    expect(core.goTo).not.toHaveBeenCalled();
    feed.close();
  });

  it('without a session is closed, and leads to the login', async () => {
    bff.user = null;
    open();
    newest().refuse();
    await vi.advanceTimersByTimeAsync(60_000);
    expect([codes, statuses.at(-1), FakeEventSource.opened.length]).toEqual([['session_expired'], 'closed', 1]);
    expect(core.goTo).toHaveBeenCalledTimes(1);
  });

  it('that is closed while it waits stays closed', async () => {
    const feed = open();
    newest().refuse();
    feed.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect([FakeEventSource.opened.length, codes]).toEqual([1, []]);
  });
});

describe('a WebSocket', () => {
  const connect = () => live.createWebSocket('/crud/socket', 'chat') as unknown as FakeWebSocket;

  it('is opened at the BFF, with the scheme that belongs to it', () => {
    expect([connect().address, connect().protocols]).toEqual(['wss://app.example.com/api/crud/socket', 'chat']);
    core.setBaseUrl('http://localhost:8000/api');
    expect(connect().address).toBe('ws://localhost:8000/api/crud/socket');
  });

  it('that never opened leads to the login if there is no session, and else does not', async () => {
    connect().dispatchEvent(new Event('close'));
    await vi.advanceTimersByTimeAsync(1);
    expect(core.goTo).not.toHaveBeenCalled();
    bff.user = null;
    const closed = connect();
    closed.dispatchEvent(new Event('open'));
    closed.dispatchEvent(new Event('close'));
    await vi.advanceTimersByTimeAsync(1);
    expect(core.goTo).not.toHaveBeenCalled();
    connect().dispatchEvent(new Event('close'));
    await vi.advanceTimersByTimeAsync(1);
    expect(core.goTo).toHaveBeenCalledTimes(1);
  });
});
