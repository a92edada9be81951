/** Asks whether the user is still there, shortly before the session ends. */

import { useAuth } from '@empowernow/bff-auth-react';
import { Button } from '@empowernow/ui';
import { useEffect, useRef } from 'react';

export function ExpiryDialog() {
  const { isAuthenticated, isExpiring, canRenew, expiresIn, renew, login } = useAuth();
  const dialog = useRef<HTMLDialogElement>(null);
  const isShown = isAuthenticated && isExpiring;
  useEffect(() => {
    if (isShown) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isShown]);
  return (
    <dialog ref={dialog} aria-labelledby="expiry-title">
      <h2 id="expiry-title">Are you still there?</h2>
      <p>
        Your session ends in <b>{Math.max(0, Math.ceil(expiresIn))}</b> seconds.
      </p>
      {canRenew ? (
        <Button onClick={() => void renew()}>Stay logged in</Button>
      ) : (
        <Button onClick={() => login()}>Log in again</Button>
      )}
    </dialog>
  );
}
