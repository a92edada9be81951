/** The addresses of the application. Everything but the start page is for users who are logged in. */

import { AuthGuard } from '@empowernow/bff-auth-react';
import { Route, Routes } from 'react-router';
import { Layout } from './Layout.js';
import { ErrorNotice, Waiting } from './notices.js';
import { FilesPage } from './pages/FilesPage.js';
import { FormPage } from './pages/FormPage.js';
import { FormsPage } from './pages/FormsPage.js';
import { FeedPage } from './pages/FeedPage.js';
import { HomePage } from './pages/HomePage.js';
import { NotFoundPage } from './pages/NotFoundPage.js';
import { SessionsPage } from './pages/SessionsPage.js';

const guarded = (page: React.ReactNode) => (
  <AuthGuard loading={<Waiting />} renderError={(error, retry) => <ErrorNotice error={error} onRetry={retry} />}>
    {page}
  </AuthGuard>
);

export function App() {
  return (
    <Routes>
      <Route element={<Layout />}>
        <Route index element={<HomePage />} />
        <Route path="forms" element={guarded(<FormsPage />)} />
        <Route path="forms/:id" element={guarded(<FormPage />)} />
        <Route path="feed" element={guarded(<FeedPage />)} />
        <Route path="files" element={guarded(<FilesPage />)} />
        <Route path="sessions" element={guarded(<SessionsPage />)} />
        <Route path="*" element={<NotFoundPage />} />
      </Route>
    </Routes>
  );
}
