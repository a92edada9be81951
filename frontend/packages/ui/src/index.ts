/** EmpowerNow's components: `@empowernow/ui`. Their look is in `@empowernow/ui/dist/index.css`. */

export { Button, type ButtonProps } from './Button.js';
