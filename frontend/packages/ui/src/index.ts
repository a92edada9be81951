/** EmpowerNow's components: `@empowernow/ui`. Their look is in `@empowernow/ui/dist/index.css`. */

export { AccessDenied, type AccessDeniedProps } from './AccessDenied.js';
export { Button, type ButtonProps } from './Button.js';
export { DataTable, type Column, type DataTableProps } from './DataTable.js';
export { GlassCard, type GlassCardProps } from './GlassCard.js';
export { HeaderNav, type HeaderNavItem, type HeaderNavProps } from './HeaderNav.js';
export { LoginPanel, type LoginPanelProps } from './LoginPanel.js';
export { Notice, type NoticeKind } from './Notice.js';
export { SessionExpiryDialog, type SessionExpiryDialogProps } from './SessionExpiryDialog.js';
export { Spinner, type SpinnerProps } from './Spinner.js';
export { Toast, ToastProvider, useToast, type ShowToast, type ToastProps } from './Toast.js';
export { UserMenu, type UserMenuItem, type UserMenuProps } from './UserMenu.js';
