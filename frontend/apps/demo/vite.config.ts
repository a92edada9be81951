/** `npm run dev` serves on 5173 and calls the BFF across origins; a build is served on the BFF's own origin. */

import react from '@vitejs/plugin-react';
import { defaultClientConditions, defineConfig } from 'vite';

export default defineConfig(({ command }) => ({
  plugins: [react()],
  resolve: { conditions: ['source', ...defaultClientConditions] },
  server: { port: 5173, strictPort: true },
  // Assets as `data:` addresses would need a wider policy than the BFF's.
  build: { assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  define: command === 'serve' ? {} : { 'import.meta.env.VITE_BFF_BASE_URL': JSON.stringify('/api') },
}));
