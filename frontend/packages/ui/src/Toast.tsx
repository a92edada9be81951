/** Short notes on what has happened. They go by themselves but for errors, and wait while somebody reads them. */

import { createContext, useCallback, useContext, useEffect, useMemo, useRef, useState, type ReactNode } from 'react';
import { Notice, type NoticeKind } from './Notice.js';

const SHOWN_SECONDS = 6;

export interface ToastProps {
  kind?: NoticeKind;
  children: ReactNode;
  onClose: () => void;
  /** How long it is shown; errors stay until they are closed. */
  seconds?: number;
}

export function Toast({ kind = 'info', children, onClose, seconds = kind === 'error' ? Infinity : SHOWN_SECONDS }: ToastProps): ReactNode {
  const [isHeld, setIsHeld] = useState(false);
  const latestOnClose = useRef(onClose);
  useEffect(() => {
    latestOnClose.current = onClose;
  });
  useEffect(() => {
    if (isHeld || seconds === Infinity) return undefined;
    const timer = setTimeout(() => latestOnClose.current(), seconds * 1000);
    return () => clearTimeout(timer);
  }, [isHeld, seconds]);
  return (
    // Holding it is a comfort for who reads slowly, and no control of its own.
    // eslint-disable-next-line jsx-a11y/no-static-element-interactions
    <div
      className="en-toast"
      onMouseEnter={() => setIsHeld(true)}
      onMouseLeave={() => setIsHeld(false)}
      onFocus={() => setIsHeld(true)}
      onBlur={() => setIsHeld(false)}
    >
      <Notice kind={kind}>{children}</Notice>
      <button type="button" className="en-toast__close" aria-label="Close this note" onClick={onClose}>
        ×
      </button>
    </div>
  );
}

export type ShowToast = (text: ReactNode, options?: { kind?: NoticeKind; seconds?: number }) => void;

const ToastContext = createContext<ShowToast | null>(null);

interface Shown {
  id: number;
  text: ReactNode;
  options: { kind?: NoticeKind; seconds?: number };
}

/** Holds the notes of everything below it. */
export function ToastProvider({ children }: { children?: ReactNode }): ReactNode {
  const [shown, setShown] = useState<Shown[]>([]);
  const lastId = useRef(0);
  const show = useCallback<ShowToast>((text, options = {}) => {
    const id = ++lastId.current;
    setShown((before) => [...before, { id, text, options }]);
  }, []);
  const region = useMemo(
    () =>
      shown.map(({ id, text, options }) => (
        <Toast key={id} {...options} onClose={() => setShown((before) => before.filter((toast) => toast.id !== id))}>
          {text}
        </Toast>
      )),
    [shown],
  );
  return (
    <ToastContext.Provider value={show}>
      {children}
      <section className="en-toasts" aria-label="Notes">
        {region}
      </section>
    </ToastContext.Provider>
  );
}

/** Returns what shows a note. */
export function useToast(): ShowToast {
  const show = useContext(ToastContext);
  if (!show) throw new Error('There is no <ToastProvider> above this component.');
  return show;
}
