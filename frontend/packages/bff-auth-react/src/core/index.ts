/**
 * Sessions and calls, without React: `@empowernow/bff-auth-react/core`. Beside it stand `/permissions` and `/live`,
 * which need no React either.
 */

export { findReturnPath, resolveAddress, setBaseUrl } from './addresses.js';
export { apiClient, type CallOptions } from './api.js';
export { fetchWithAuth } from './calls.js';
export { BffError, type BffErrorCode, type ErrorCode, type LocalErrorCode } from './errors.js';
export { login, requireLogin, setAutomaticLogin, type LoginOptions } from './login.js';
export { logout } from './logout.js';
export { getSession, loadSession, onSessionChange, renewSession, type SessionState, type User } from './session.js';
export { type DownloadOptions, type UploadOptions } from './transfers.js';
export { watchSession, type WatchOptions } from './watch.js';
