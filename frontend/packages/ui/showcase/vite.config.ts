import react from '@vitejs/plugin-react';
import { defaultClientConditions, defineConfig } from 'vite';

export default defineConfig({
  root: import.meta.dirname,
  // Shows the sources, so that a change is seen at once.
  resolve: { conditions: ['source', ...defaultClientConditions] },
  plugins: [react()],
  build: { outDir: 'dist' },
});
