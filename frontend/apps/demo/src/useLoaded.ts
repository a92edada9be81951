/** Loads what a page shows, and again when it asks; an answer that comes after its page has gone is dropped. */

import type { BffError } from '@empowernow/bff-auth-react';
import { useCallback, useEffect, useState } from 'react';
import { toBffError } from './toBffError.js';

export interface Loaded<T> {
  value: T | null;
  error: BffError | null;
  reload: () => void;
}

/** `load` must not change from render to render. */
export function useLoaded<T>(load: () => Promise<T>): Loaded<T> {
  const [state, setState] = useState<{ value: T | null; error: BffError | null }>({ value: null, error: null });
  const [round, setRound] = useState(0);
  useEffect(() => {
    let isGone = false;
    load().then(
      (value) => isGone || setState({ value, error: null }),
      (error: unknown) => isGone || setState({ value: null, error: toBffError(error) }),
    );
    return () => {
      isGone = true;
    };
  }, [load, round]);
  const reload = useCallback(() => setRound((before) => before + 1), []);
  return { ...state, reload };
}
