/** Asks whether to stay, before a session ends by itself. Modal: what is behind it waits. */

import { useEffect, useId, useRef, type ReactNode } from 'react';
import { Button } from './Button.js';

export interface SessionExpiryDialogProps {
  isOpen: boolean;
  /** Seconds until the session ends. */
  expiresIn: number;
  /** False when only a new login helps. */
  canRenew?: boolean;
  onRenew: () => void;
  onLogout: () => void;
  /** Puts the dialog aside when nothing can be renewed: there may be work to save. */
  onDismiss?: () => void;
  isBusy?: boolean;
  /** Why the last try did not help. */
  error?: ReactNode;
}

export function SessionExpiryDialog({
  isOpen,
  expiresIn,
  canRenew = true,
  onRenew,
  onLogout,
  onDismiss,
  isBusy = false,
  error,
}: SessionExpiryDialogProps): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const element = dialog.current;
    if (!isOpen || !element) return undefined;
    const focusedBefore = document.activeElement;
    element.showModal();
    return () => {
      element.close();
      // A dialog that has left the page gives no focus back by itself.
      if (focusedBefore instanceof HTMLElement) focusedBefore.focus();
    };
  }, [isOpen]);
  if (!isOpen) return null;
  const stay = canRenew ? onRenew : onDismiss;
  return (
    <dialog
      ref={dialog}
      role="alertdialog"
      className="en-dialog"
      aria-labelledby={`${id}-title`}
      aria-describedby={`${id}-text`}
      onCancel={(event) => {
        // Escape is somebody who is there.
        event.preventDefault();
        if (!isBusy) stay?.();
      }}
    >
      <h2 id={`${id}-title`} className="en-card__title">
        {canRenew ? 'Are you still there?' : 'Your session is ending'}
      </h2>
      <p id={`${id}-text`} className="en-muted">
        {canRenew
          ? 'You have been quiet for a while, and will be logged out for your safety.'
          : 'It has reached its longest time. Save your work, then log in again.'}
      </p>
      <p className="en-dialog__clock" role="timer" aria-label="Time left">
        {tellTime(expiresIn)}
      </p>
      {error && (
        <p className="en-dialog__error" role="alert">
          {error}
        </p>
      )}
      <div className="en-actions en-actions--end">
        <Button variant="secondary" onClick={onLogout}>
          Log out now
        </Button>
        {stay && (
          <Button onClick={stay} isBusy={isBusy}>
            {canRenew ? 'Stay logged in' : 'Go on working'}
          </Button>
        )}
      </div>
    </dialog>
  );
}

const tellTime = (seconds: number): string => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;
