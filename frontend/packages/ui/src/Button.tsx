/** A button. */

import type { ComponentProps, ReactNode } from 'react';

export type ButtonProps = ComponentProps<'button'>;

export function Button({ className = '', type = 'button', ...rest }: ButtonProps): ReactNode {
  return <button type={type} className={`en-button ${className}`.trim()} {...rest} />;
}
