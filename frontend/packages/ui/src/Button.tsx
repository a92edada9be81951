/** A button; while busy it keeps its place and its focus, and does nothing. */

import type { ComponentProps, ReactNode } from 'react';
import { joinClasses } from './classNames.js';

export interface ButtonProps extends ComponentProps<'button'> {
  variant?: 'primary' | 'secondary' | 'danger' | 'quiet';
  size?: 'small' | 'medium';
  isBusy?: boolean;
}

export function Button({
  variant = 'primary',
  size = 'medium',
  isBusy = false,
  type = 'button',
  className,
  onClick,
  children,
  ...rest
}: ButtonProps): ReactNode {
  return (
    <button
      type={isBusy ? 'button' : type}
      className={joinClasses('en-button', `en-button--${variant}`, size === 'small' && 'en-button--small', className)}
      aria-busy={isBusy || undefined}
      aria-disabled={isBusy || undefined}
      onClick={isBusy ? undefined : onClick}
      {...rest}
    >
      {isBusy && <span className="en-spinner__ring" aria-hidden="true" />}
      {children}
    </button>
  );
}
