import { defineConfig } from 'vitest/config';

export default defineConfig({
  // Packages are tested from their sources; no build comes first.
  resolve: { conditions: ['source', 'module', 'browser', 'development|production'] },
  ssr: { resolve: { conditions: ['source', 'module', 'node', 'development|production'] } },
  test: {
    environment: 'jsdom',
    include: ['packages/*/tests/**/*.test.{ts,tsx}', 'apps/*/tests/**/*.test.{ts,tsx}'],
    environmentOptions: { jsdom: { url: 'https://app.example.com/' } },
    restoreMocks: true,
    unstubGlobals: true,
    dangerouslyIgnoreUnhandledErrors: false,
  },
});
