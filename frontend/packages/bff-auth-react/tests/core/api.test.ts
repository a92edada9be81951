import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeBff, json, loadCore, refusal } from '../support.js';

let bff: FakeBff;
let core: Awaited<ReturnType<typeof loadCore>>;

beforeEach(async () => {
  bff = new FakeBff();
  core = await loadCore();
});

afterEach(() => {
  vi.useRealTimers();
});

describe('apiClient', () => {
  it('sends and reads JSON', async () => {
    bff.on('POST /api/forms', (call) => json({ got: JSON.parse(call.body as string) as unknown, type: call.headers.get('Content-Type') }));
    expect(await core.apiClient.post('/forms', { title: 'é' })).toEqual({ got: { title: 'é' }, type: 'application/json' });
  });

  it('sends what fetch can send as it is', async () => {
    bff.on('PUT /api/forms/1', (call) => json({ isForm: call.body instanceof FormData, type: call.headers.get('Content-Type') }));
    expect(await core.apiClient.put('/forms/1', new FormData())).toEqual({ isForm: true, type: null });
  });

  it('has a way for every method, and writes the query', async () => {
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) bff.on(`${method} /api/forms`, ({ url }) => json(new URL(url).search));
    const options = { query: { kind: ['a', 'b&c'], page: 2, none: undefined } };
    const { apiClient } = core;
    const answers = [
      await apiClient.get('/forms?x=1', options),
      await apiClient.post('/forms', {}, options),
      await apiClient.put('/forms', {}, options),
      await apiClient.patch('/forms', {}, options),
      await apiClient.delete('/forms', options),
    ];
    const query = 'kind=a&kind=b%26c&page=2';
    expect(answers).toEqual([`?x=1&${query}`, ...Array<string>(4).fill(`?${query}`)]);
  });

  it('answers with undefined where there is no body, and with text where it is text', async () => {
    bff.on('DELETE /api/forms/1', () => new Response(null, { status: 204 }));
    bff.on('GET /api/motto', () => new Response('Hello', { headers: { 'Content-Type': 'text/plain; charset=utf-8' } }));
    expect(await core.apiClient.delete('/forms/1')).toBeUndefined();
    expect(await core.apiClient.get('/motto')).toBe('Hello');
  });

  it('tells a refusal of the BFF by its code, with the request id', async () => {
    bff.on('GET /api/forms', () => refusal(403, 'access_denied', { reason: 'not_owner' }));
    await expect(core.apiClient.get('/forms')).rejects.toMatchObject({
      name: 'BffError',
      code: 'access_denied',
      status: 403,
      requestId: 'r-1',
      message: 'Refused: access_denied.',
      problem: { reason: 'not_owner' },
    });
  });

  it('tells how long to wait', async () => {
    bff.on('GET /api/forms', () => {
      const answer = refusal(429, 'rate_limited');
      answer.headers.set('Retry-After', '7');
      return answer;
    });
    await expect(core.apiClient.get('/forms')).rejects.toMatchObject({ code: 'rate_limited', retryAfterSeconds: 7 });
  });

  it('takes no code from a backend', async () => {
    bff.on('GET /api/forms', () => json({ code: 'access_denied', detail: 'No.' }, { status: 403 }));
    await expect(core.apiClient.get('/forms')).rejects.toMatchObject({ code: 'http_error', status: 403, message: 'No.' });
  });

  it.each([
    ['a page', 'unexpected_answer', () => new Response('<!doctype html>', { headers: { 'Content-Type': 'text/html' } })],
    ['broken JSON', 'unexpected_answer', () => new Response('{', { headers: { 'Content-Type': 'application/json' } })],
    ['a failure with broken JSON', 'http_error', () => new Response('{', { status: 500, headers: { 'Content-Type': 'application/json' } })],
    ['nothing: the line is dead', 'network_error', () => Promise.reject(new TypeError('Failed to fetch'))],
  ])('fails with a code when the answer is %s', async (_, code, answer) => {
    bff.on('GET /api/forms', answer);
    await expect(core.apiClient.get('/forms')).rejects.toMatchObject({ name: 'BffError', code });
  });

  it('gives up after the time it was given', async () => {
    vi.useFakeTimers();
    bff.on('GET /api/forms', () => new Promise(() => undefined));
    const failure = expect(core.apiClient.get('/forms', { timeoutSeconds: 3 })).rejects.toMatchObject({ code: 'timeout' });
    await vi.advanceTimersByTimeAsync(3000);
    await failure;
  });

  it('gives up when its caller does', async () => {
    bff.on('GET /api/forms', () => new Promise(() => undefined));
    const controller = new AbortController();
    const failure = expect(core.apiClient.get('/forms', { signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    controller.abort();
    await failure;
    await expect(core.apiClient.get('/forms', { signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
  });

  it('calls no other site', async () => {
    await expect(core.apiClient.get('https://elsewhere.example/api/x')).rejects.toMatchObject({ code: 'bad_request' });
    await expect(core.apiClient.upload('https://elsewhere.example/api/x', new Blob())).rejects.toMatchObject({ code: 'bad_request' });
    expect(bff.calls).toEqual([]);
  });
});

describe('download', () => {
  const file = (disposition?: string) => () =>
    new Response('abc', { headers: disposition === undefined ? {} : { 'Content-Disposition': disposition } });

  it.each([
    ['attachment; filename="form.csv"', 'form.csv'],
    ['attachment; filename=form.csv', 'form.csv'],
    ["attachment; filename=\"x.csv\"; filename*=UTF-8''%C3%A9t%C3%A9.csv", 'été.csv'],
    ["attachment; filename=\"x.csv\"; filename*=UTF-8''%ff", 'x.csv'],
    ['attachment; filename="../../etc/passwd"', 'passwd'],
    ["attachment; filename*=UTF-8''..%5C..%5Cevil.exe", 'evil.exe'],
    ['attachment', 'download'],
    [undefined, 'download'],
  ])('reads from %j the name %j', async (disposition, fileName) => {
    bff.on('GET /api/file', file(disposition));
    expect((await core.apiClient.download('/file', { save: false })).fileName).toBe(fileName);
  });

  it('saves the file as a browser does', async () => {
    const clicked: string[] = [];
    vi.spyOn(HTMLAnchorElement.prototype, 'click').mockImplementation(function click(this: HTMLAnchorElement) {
      clicked.push(`${this.href} ${this.download}`);
    });
    vi.stubGlobal('URL', Object.assign(URL, { createObjectURL: () => 'blob:1', revokeObjectURL: () => undefined }));
    bff.on('GET /api/file', file('attachment; filename=a.csv'));
    await core.apiClient.download('/file');
    expect(clicked).toEqual(['blob:1 a.csv']);
  });

  it('saves no refusal', async () => {
    const click = vi.spyOn(HTMLAnchorElement.prototype, 'click');
    bff.on('GET /api/file', () => refusal(403, 'access_denied'));
    await expect(core.apiClient.download('/file')).rejects.toMatchObject({ code: 'access_denied' });
    expect(click).not.toHaveBeenCalled();
  });
});

describe('upload', () => {
  const SENT: FakeRequest[] = [];
  type Outcome = { status: number; body: string; code?: string } | 'error' | 'pending';
  let outcomes: Outcome[] = [];

  class FakeRequest {
    upload: { onprogress?: (event: { loaded: number; total: number }) => void } = {};
    headers = new Headers();
    withCredentials = false;
    status = 0;
    response: unknown = '';
    code: string | undefined;
    address = '';
    onload = () => undefined;
    onerror = () => undefined;
    onabort = () => undefined;
    onloadend = () => undefined;
    open(method: string, address: string) {
      this.address = `${method} ${address}`;
    }
    setRequestHeader(name: string, value: string) {
      this.headers.set(name, value);
    }
    getAllResponseHeaders() {
      return `content-type: application/json\r\n${this.code ? `x-bff-error: ${this.code}\r\n` : ''}`;
    }
    abort() {
      this.onabort();
      this.onloadend();
    }
    send() {
      SENT.push(this);
      const outcome = outcomes.shift();
      if (outcome === 'error') this.onerror();
      if (typeof outcome !== 'object') return;
      this.upload.onprogress?.({ loaded: 3, total: 3 });
      [this.status, this.response, this.code] = [outcome.status, outcome.body, outcome.code];
      this.onload();
      this.onloadend();
    }
  }

  beforeEach(() => {
    SENT.length = 0;
    vi.stubGlobal('XMLHttpRequest', FakeRequest);
  });

  it('tells how far it has come, and answers with what the backend says', async () => {
    outcomes = [{ status: 201, body: '{"bytes":3}' }];
    const onProgress = vi.fn();
    expect(await core.apiClient.upload('/files', new Blob(['abc']), { onProgress })).toEqual({ bytes: 3 });
    expect(onProgress).toHaveBeenCalledWith({ loaded: 3, total: 3 });
    expect(SENT.map(({ address, withCredentials, headers }) => [address, withCredentials, headers.get('X-CSRF-Token')])).toEqual([
      ['POST https://app.example.com/api/files', true, 'csrf-1'],
    ]);
  });

  it('is sent again once with a fresh CSRF token', async () => {
    await core.loadSession();
    bff.csrfToken = 'csrf-2';
    outcomes = [{ status: 403, body: '{}', code: 'csrf_failed' }, { status: 204, body: '' }];
    expect(await core.apiClient.upload('/files', new Blob(['abc']))).toBeUndefined();
    expect(SENT.map(({ headers }) => headers.get('X-CSRF-Token'))).toEqual(['csrf-1', 'csrf-2']);
  });

  it('fails with a code when it is too large, cut off or given up', async () => {
    outcomes = [{ status: 413, body: '{"detail":"Too large."}', code: 'body_too_large' }, 'error', 'pending'];
    const send = (signal?: AbortSignal) => core.apiClient.upload('/files', new Blob(['abc']), signal ? { signal } : {});
    await expect(send()).rejects.toMatchObject({ code: 'body_too_large', message: 'Too large.' });
    await expect(send()).rejects.toMatchObject({ code: 'network_error' });
    const controller = new AbortController();
    const failure = expect(send(controller.signal)).rejects.toMatchObject({ code: 'aborted' });
    await vi.waitFor(() => expect(SENT).toHaveLength(3));
    controller.abort();
    await failure;
  });
});
