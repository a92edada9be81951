/** Says that something is on its way, to eyes and to screen readers. */

import type { ReactNode } from 'react';
import { joinClasses } from './classNames.js';

export interface SpinnerProps {
  /** What is on its way. */
  label?: string;
  size?: 'small' | 'large';
  className?: string;
}

export function Spinner({ label = 'Loading', size = 'small', className }: SpinnerProps): ReactNode {
  return (
    <span role="status" className={joinClasses('en-spinner', `en-spinner--${size}`, className)}>
      <span className="en-spinner__ring" aria-hidden="true" />
      <span className="en-visually-hidden">{label}</span>
    </span>
  );
}
