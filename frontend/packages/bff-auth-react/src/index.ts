/** The SDK with its React bindings: `@empowernow/bff-auth-react`. */

export * from './core/index.js';
export { createEventSource, createWebSocket, type EventSourceOptions, type LiveStatus } from './live.js';
export { checkPermission, fetchCapabilities, forgetPermissions, type Decision, type Question } from './permissions.js';
export { AuthGuard, type AuthGuardProps } from './react/AuthGuard.js';
export { AuthProvider, type AuthProviderProps } from './react/AuthProvider.js';
export {
  PermissionGate,
  useCapabilities,
  usePermission,
  type Capabilities,
  type Permission,
  type PermissionGateProps,
} from './react/permissions.js';
export { useAuth, type Auth } from './react/useAuth.js';
