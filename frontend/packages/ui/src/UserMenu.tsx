/** Who is logged in, and what they can do about it: a menu button (ARIA Authoring Practices, "Menu Button"). */

import { useEffect, useId, useRef, useState, type KeyboardEvent, type ReactNode } from 'react';

export interface UserMenuItem {
  label: string;
  onSelect: () => void;
}

export interface UserMenuProps {
  name: string;
  /** A second line, such as the mail address. */
  detail?: string | undefined;
  items: readonly UserMenuItem[];
}

export function UserMenu({ name, detail, items }: UserMenuProps): ReactNode {
  const [isOpen, setIsOpen] = useState(false);
  const menuId = useId();
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const entries = useRef<(HTMLButtonElement | null)[]>([]);
  const first = useRef(0);

  useEffect(() => {
    if (!isOpen) return undefined;
    entries.current.at(first.current)?.focus();
    const closeFromOutside = (event: PointerEvent) => {
      if (!box.current?.contains(event.target as Node)) setIsOpen(false);
    };
    document.addEventListener('pointerdown', closeFromOutside);
    return () => document.removeEventListener('pointerdown', closeFromOutside);
  }, [isOpen]);

  const open = (index: number) => {
    first.current = index;
    setIsOpen(true);
  };
  const close = () => {
    setIsOpen(false);
    button.current?.focus();
  };
  const onButtonKey = (event: KeyboardEvent) => {
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    event.preventDefault();
    open(event.key === 'ArrowDown' ? 0 : -1);
  };
  const onMenuKey = (event: KeyboardEvent) => {
    const now = entries.current.indexOf(document.activeElement as HTMLButtonElement);
    const next = { ArrowDown: (now + 1) % items.length, ArrowUp: now - 1, Home: 0, End: -1 }[event.key];
    if (event.key === 'Tab') setIsOpen(false);
    else if (event.key === 'Escape') close();
    else if (next !== undefined) {
      event.preventDefault();
      entries.current.slice(0, items.length).at(next)?.focus();
    }
  };

  return (
    <div className="en-user-menu" ref={box}>
      <button
        ref={button}
        type="button"
        className="en-user-menu__button"
        aria-haspopup="menu"
        aria-expanded={isOpen}
        aria-controls={isOpen ? menuId : undefined}
        onClick={() => (isOpen ? close() : open(0))}
        onKeyDown={onButtonKey}
      >
        <span className="en-avatar" aria-hidden="true">
          {findInitials(name)}
        </span>
        <span className="en-user-menu__name">{name}</span>
      </button>
      {isOpen && (
        <div className="en-user-menu__popup">
          <p className="en-user-menu__who">
            <strong>{name}</strong>
            {detail && <span>{detail}</span>}
          </p>
          <div id={menuId} role="menu" tabIndex={-1} aria-label={`Menu of ${name}`} onKeyDown={onMenuKey}>
            {items.map((item, index) => (
              <button
                key={item.label}
                ref={(element) => {
                  entries.current[index] = element;
                }}
                type="button"
                role="menuitem"
                tabIndex={-1}
                className="en-user-menu__item"
                onClick={() => {
                  close();
                  item.onSelect();
                }}
              >
                {item.label}
              </button>
            ))}
          </div>
        </div>
      )}
    </div>
  );
}

/** The first letters of the first and the last word; letters of any script, emoji included. */
function findInitials(name: string): string {
  const words = name.trim().split(/\s+/);
  const ends = words.length > 1 ? [words[0], words.at(-1)] : words;
  return ends.map((word) => Array.from(word ?? '')[0] ?? '').join('').toUpperCase() || '?';
}
