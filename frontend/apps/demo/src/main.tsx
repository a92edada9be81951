import { AuthProvider } from '@empowernow/bff-auth-react';
import { ToastProvider } from '@empowernow/ui';
import '@empowernow/ui/dist/index.css';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { BrowserRouter } from 'react-router';
import { App } from './App.js';
import './app.css';

const root = document.getElementById('root');
if (!root) throw new Error('The page has no element "root".');

createRoot(root).render(
  <StrictMode>
    <AuthProvider baseUrl={import.meta.env.VITE_BFF_BASE_URL as string | undefined}>
      <ToastProvider>
        <BrowserRouter>
          <App />
        </BrowserRouter>
      </ToastProvider>
    </AuthProvider>
  </StrictMode>,
);
