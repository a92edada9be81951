/** What the user may do, for components. A hint for what to show: every call is decided when it comes. */

import { useEffect, useState, type ReactNode } from 'react';
import { toBffError, type BffError } from '../core/errors.js';
import { buildKey, checkPermission, fetchCapabilities, type Decision, type Question } from '../permissions.js';
import { useSession } from './useAuth.js';

export interface Permission {
  /** False until there is an answer, and when there is none. */
  allowed: boolean;
  isLoading: boolean;
  reason?: string | undefined;
  error: BffError | null;
}

export interface Capabilities {
  actions: readonly string[];
  can: (action: string) => boolean;
  isLoading: boolean;
  error: BffError | null;
}

/** Asks whether the user may do something. What the components of a page ask goes to the BFF in one request. */
export function usePermission(question: Question): Permission {
  const { value, isLoading, error } = useAnswer<Decision>(buildKey(question), () => checkPermission(question));
  return { allowed: value?.allowed ?? false, reason: value?.reason, isLoading, error };
}

/** Asks for all actions that the user may do on a resource, or on a type of resource. */
export function useCapabilities(resource: string, id?: string): Capabilities {
  const { value, isLoading, error } = useAnswer<string[]>(JSON.stringify([resource, id]), () => fetchCapabilities(resource, id));
  const actions = value ?? [];
  return { actions, can: (action) => actions.includes(action), isLoading, error };
}

export interface PermissionGateProps extends Question {
  children?: ReactNode;
  /** Shown to who may not. */
  fallback?: ReactNode;
  /** Shown until there is an answer. */
  loading?: ReactNode;
}

/** Shows its children to users who may do it. */
export function PermissionGate({ children, fallback = null, loading = null, ...question }: PermissionGateProps): ReactNode {
  const { allowed, isLoading } = usePermission(question);
  if (isLoading) return loading;
  return allowed ? children : fallback;
}

interface Answer<T> {
  key: string;
  value?: T;
  error?: BffError;
}

/** Asks for the user who is logged in; an answer to an earlier question or user is never shown. */
function useAnswer<T>(question: string, ask: () => Promise<T>): { value?: T | undefined; isLoading: boolean; error: BffError | null } {
  const { status, user } = useSession();
  const key = user ? `${user.id} ${question}` : '';
  const [answer, setAnswer] = useState<Answer<T>>({ key: '' });
  useEffect(() => {
    if (!key) return undefined;
    let isGone = false;
    const show = (shown: Answer<T>) => {
      if (!isGone) setAnswer(shown);
    };
    ask().then(
      (value) => show({ key, value }),
      (error: unknown) => show({ key, error: toBffError(error) }),
    );
    return () => {
      isGone = true;
    };
    // `ask` is made anew with every render; `key` holds all that it depends on.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [key]);
  const isKnown = key !== '' && answer.key === key;
  return {
    value: isKnown ? answer.value : undefined,
    error: isKnown ? (answer.error ?? null) : null,
    isLoading: key ? !isKnown : status === 'loading',
  };
}
