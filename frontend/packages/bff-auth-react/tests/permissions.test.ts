import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeBff, json, loadCore, refusal } from './support.js';

let bff: FakeBff;
let core: Awaited<ReturnType<typeof loadCore>>;
let permissions: typeof import('../src/permissions.js');

interface Asked {
  evaluations: { action: { name: string }; resource: { id?: string } }[];
}

const questions = () => bff.callsTo('/access/v1/evaluations').map(({ body }) => (JSON.parse(body as string) as Asked).evaluations);

beforeEach(async () => {
  vi.useFakeTimers();
  bff = new FakeBff();
  core = await loadCore();
  permissions = await import('../src/permissions.js');
  bff.on('POST /access/v1/evaluations', ({ body }) =>
    json({
      evaluations: (JSON.parse(body as string) as Asked).evaluations.map(({ action }) =>
        action.name === 'read' ? { decision: true } : { decision: false, context: { reason_user: 'Only its owner may.' } },
      ),
    }),
  );
  await core.loadSession();
});

afterEach(() => {
  vi.useRealTimers();
});

const ask = async (...asked: Parameters<typeof permissions.checkPermission>[0][]) => {
  const answers = Promise.allSettled(asked.map((question) => permissions.checkPermission(question)));
  await vi.advanceTimersByTimeAsync(1);
  return (await answers).map((answer) => (answer.status === 'fulfilled' ? answer.value : (answer.reason as unknown)));
};

const READ = { action: 'read', resource: 'form' };
const DELETE = { action: 'delete', resource: 'form', id: '1' };

describe('questions', () => {
  it('of one moment go in one request, each once, and keep their answers', async () => {
    expect(await ask(READ, DELETE, READ)).toEqual([
      { allowed: true, reason: undefined },
      { allowed: false, reason: 'Only its owner may.' },
      { allowed: true, reason: undefined },
    ]);
    expect(questions().map((batch) => batch.length)).toEqual([2]);
    await ask(READ, DELETE);
    expect(questions()).toHaveLength(1);
  });

  it('are the same whatever the order of their properties', async () => {
    await ask({ ...READ, properties: { a: 1, b: 2 } }, { ...READ, properties: { b: 2, a: 1 } }, { ...READ, properties: { a: 1 } });
    expect(questions()[0]).toHaveLength(2);
  });

  it('are asked anew after a minute, and when told to forget', async () => {
    await ask(READ);
    vi.advanceTimersByTime(60_001);
    await ask(READ);
    permissions.forgetPermissions();
    await ask(READ);
    expect(questions()).toHaveLength(3);
  });

  it('are asked anew for another user', async () => {
    await ask(READ);
    bff.user = { id: 'bob' };
    await core.loadSession();
    await ask(READ);
    expect(questions()).toHaveLength(2);
  });

  it('are never more in one request than the BFF takes', async () => {
    await ask(...Array.from({ length: 201 }, (_, index) => ({ ...READ, id: String(index) })));
    expect(questions().map((batch) => batch.length)).toEqual([200, 1]);
  });

  it.each([
    ['the decision point is down', 'pdp_unavailable', () => refusal(503, 'pdp_unavailable')],
    ['the line is dead', 'network_error', () => Promise.reject(new TypeError('Failed to fetch'))],
    ['a page comes back', 'unexpected_answer', () => new Response('<html>', { headers: { 'Content-Type': 'text/html' } })],
  ])('fail when %s, and are asked again the next time', async (_, code, answer) => {
    bff.on('POST /access/v1/evaluations', answer);
    expect(await ask(READ)).toEqual([expect.objectContaining({ name: 'BffError', code })]);
    await ask(READ);
    expect(questions()).toHaveLength(2);
  });

  it.each([{}, { evaluations: [] }, { evaluations: [{ decision: 'true' }] }, { evaluations: [null] }, undefined])(
    'answered with %j are not allowed',
    async (answer) => {
      bff.on('POST /access/v1/evaluations', () => json(answer ?? null));
      const [outcome] = await ask(READ);
      expect((outcome as { allowed?: boolean }).allowed ?? false).toBe(false);
    },
  );
});

it('capabilities are asked for once for each resource', async () => {
  bff.on('GET /api/me/capabilities', ({ url }) => json({ actions: new URL(url).search.includes('id=1') ? ['read', 'update'] : ['read'] }));
  const answers = await Promise.all([
    permissions.fetchCapabilities('form'),
    permissions.fetchCapabilities('form', '1'),
    permissions.fetchCapabilities('form'),
  ]);
  expect(answers).toEqual([['read'], ['read', 'update'], ['read']]);
  expect(bff.callsTo('/api/me/capabilities').map(({ url }) => new URL(url).search)).toEqual(['?resource=form', '?resource=form&id=1']);
});
