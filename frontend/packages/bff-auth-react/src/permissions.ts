/**
 * What the user may do, as hints for what to show. Every call is decided when it comes, whatever was said here.
 *
 * Questions of one moment go in one request; answers are kept for a minute and for this user. They are asked when
 * something is shown and never by a clock, because each counts as activity of the user.
 */

import { apiClient } from './core/api.js';
import { toBffError } from './core/errors.js';
import { getSession, onSessionChange } from './core/session.js';

const KEPT_MS = 60_000;
/** As many as the BFF takes at once. */
const LARGEST_BATCH = 200;

type PropertyValue = string | number | boolean | null;
type Properties = Record<string, PropertyValue | PropertyValue[]>;

export interface Question {
  action: string;
  /** The type of the resource. */
  resource: string;
  /** Which one; without it the question is about the type as such. */
  id?: string | undefined;
  /** What the route's mapping takes from the call (`props`), and nothing else. */
  properties?: Properties | undefined;
}

export interface Decision {
  allowed: boolean;
  /** A sentence for the user, if the decision point gave one. */
  reason?: string | undefined;
}

interface Pending {
  question: Question;
  resolve: (decision: Decision) => void;
  reject: (error: unknown) => void;
}

const answers = new Map<string, { answer: Promise<unknown>; at: number }>();
let pending: Pending[] = [];
let answersOf: string | undefined;

/** Asks whether the user may do something. Fails with a `BffError` when there is no answer: show it as not allowed. */
export function checkPermission(question: Question): Promise<Decision> {
  return keep(buildKey(question), () => {
    if (pending.length === 0) setTimeout(askPending);
    return new Promise<Decision>((resolve, reject) => pending.push({ question, resolve, reject }));
  });
}

/** Asks for all actions that the user may do on a resource, or on a type of resource. */
export function fetchCapabilities(resource: string, id?: string): Promise<string[]> {
  return keep(JSON.stringify([resource, id]), async () => {
    const { actions } = await apiClient.get<{ actions: string[] }>('/api/me/capabilities', { query: { resource, id } });
    return actions;
  });
}

/** Forgets what was answered: after something that changes what the user may do. */
export const forgetPermissions = (): void => answers.clear();

export const buildKey = ({ action, resource, id, properties }: Question): string =>
  JSON.stringify([action, resource, id, Object.entries(properties ?? {}).sort()]);

function keep<T>(key: string, ask: () => Promise<T>): Promise<T> {
  if (answersOf === undefined) onSessionChange(forgetOthers);
  forgetOthers();
  const kept = answers.get(key);
  if (kept && performance.now() - kept.at < KEPT_MS) return kept.answer as Promise<T>;
  const answer = ask();
  answers.set(key, { answer, at: performance.now() });
  answer.catch(() => {
    if (answers.get(key)?.answer === answer) answers.delete(key);
  });
  return answer;
}

/** One user's answers are never another's. */
function forgetOthers(): void {
  const userId = getSession().user?.id ?? '';
  if (userId !== answersOf) forgetPermissions();
  answersOf = userId;
}

function askPending(): void {
  const all = pending;
  pending = [];
  for (let start = 0; start < all.length; start += LARGEST_BATCH) void askBatch(all.slice(start, start + LARGEST_BATCH));
}

async function askBatch(batch: Pending[]): Promise<void> {
  try {
    const evaluations = batch.map(({ question: { action, resource, id, properties } }) => ({
      action: { name: action },
      resource: { type: resource, id, properties },
    }));
    const answer = await apiClient.post<{ evaluations: { decision: unknown; context?: { reason_user?: string } }[] }>(
      '/access/v1/evaluations',
      { evaluations },
    );
    batch.forEach(({ resolve }, index) => {
      const evaluation = answer.evaluations[index];
      resolve({ allowed: evaluation?.decision === true, reason: evaluation?.context?.reason_user });
    });
  } catch (error) {
    for (const { reject } of batch) reject(toBffError(error));
  }
}
