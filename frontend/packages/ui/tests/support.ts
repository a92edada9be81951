/** What jsdom lacks, and a judge of what screen readers find. Colours are judged in a real browser. */

import axe from 'axe-core';
import { expect } from 'vitest';

HTMLDialogElement.prototype.showModal = function showModal() {
  this.open = true;
};
HTMLDialogElement.prototype.close = function close() {
  this.open = false;
};

// Nothing draws here, and jsdom complains of each try.
HTMLCanvasElement.prototype.getContext = () => null;

export async function expectNoViolations(container: Element = document.body): Promise<void> {
  const { violations } = await axe.run(container, { rules: { 'color-contrast': { enabled: false }, region: { enabled: false } } });
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`)).toEqual([]);
}
