/** Mounts the page that shows every component. `?theme=dark` or `light` overrules the system's. */

import '@empowernow/ui/dist/index.css';
import { createRoot } from 'react-dom/client';
import { Showcase } from './Showcase.js';

const theme = new URLSearchParams(location.search).get('theme');
if (theme) document.documentElement.dataset.theme = theme;
const root = document.getElementById('root');
if (root) createRoot(root).render(<Showcase />);
