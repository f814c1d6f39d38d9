import { createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useRef, useState } from "react";
import { errorWords } from "../errors.ts";
import { useTexts } from "../texts/index.tsx";
import { Icon } from "./icons.tsx";

/** An error in words, announced. */
export function ErrorNotice({ error, retry }: { error: unknown; retry?: () => void }) {
  const t = useTexts();
  if (!error) return null;
  return (
    <div className="notice notice-error" role="alert">
      <span>{errorWords(t, error)}</span>
      {retry && (
        <button type="button" className="button small" onClick={retry}>
          {t.common.tryAgain}
        </button>
      )}
    </div>
  );
}

/** While something loads. */
export function Loading() {
  const t = useTexts();
  return (
    <div className="loading" role="status">
      <span className="spinner" aria-hidden="true" />
      <span className="hidden">{t.common.loading}</span>
    </div>
  );
}

interface Toast {
  id: number;
  text: string;
  error: boolean;
  action?: { label: string; run: () => void };
  /** What it is about: see clear. */
  about?: string;
}

interface Toaster {
  tell: (text: string, action?: Toast["action"], about?: string) => void;
  /** Takes away what was told about something that is not so any more. */
  clear: (about: string) => void;
  fail: (error: unknown) => void;
}

const ToastContext = createContext<Toaster | undefined>(undefined);

/** Short messages at the edge of the page, which go by themselves. */
export function ToastProvider({ children }: { children: ReactNode }) {
  const t = useTexts();
  const [toasts, setToasts] = useState<Toast[]>([]);
  const next = useRef(0);
  const drop = useCallback((id: number) => setToasts((all) => all.filter((one) => one.id !== id)), []);
  const add = useCallback(
    (toast: Omit<Toast, "id">) => {
      const id = next.current++;
      setToasts((all) => [...all.slice(-2), { ...toast, id }]);
      setTimeout(() => drop(id), toast.error || toast.action ? 9000 : 5000);
    },
    [drop],
  );
  const words = useRef(t);
  words.current = t;
  const toaster = useMemo<Toaster>(
    () => ({
      tell: (text, action, about) => add({ text, error: false, ...(action && { action }), ...(about && { about }) }),
      clear: (about) => setToasts((all) => all.filter((one) => one.about !== about)),
      fail: (error) => add({ text: errorWords(words.current, error), error: true }),
    }),
    [add],
  );
  return (
    <ToastContext.Provider value={toaster}>
      {children}
      <div className="toasts" role="status" aria-live="polite">
        {toasts.map((toast) => (
          <div key={toast.id} className={toast.error ? "toast toast-error" : "toast"}>
            <span>{toast.text}</span>
            {toast.action && (
              <button
                type="button"
                className="button small"
                onClick={() => {
                  toast.action?.run();
                  drop(toast.id);
                }}
              >
                {toast.action.label}
              </button>
            )}
            <button type="button" className="icon-button small" aria-label={t.common.close} onClick={() => drop(toast.id)}>
              <Icon name="close" />
            </button>
          </div>
        ))}
      </div>
    </ToastContext.Provider>
  );
}

export function useToaster(): Toaster {
  const toaster = useContext(ToastContext);
  if (!toaster) throw new Error("useToaster needs a ToastProvider above it");
  return toaster;
}

/** A window over the page that wants an answer. The browser keeps the focus in it and closes it with Escape. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ReactNode }) {
  const t = useTexts();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      className="dialog"
      aria-labelledby="dialog-title"
      onClose={onClose}
      // It closes the dialog, and not the panel below it too.
      onKeyDown={(event) => event.key === "Escape" && event.stopPropagation()}
    >
      <header>
        <h2 id="dialog-title">{title}</h2>
        <button type="button" className="icon-button" aria-label={t.common.close} onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      {children}
    </dialog>
  );
}

/** Copies a text, and says that it did. */
export function CopyButton({ text, label, className = "button" }: { text: string; label: string; className?: string }) {
  const t = useTexts();
  const [copied, setCopied] = useState(false);
  const { fail } = useToaster();
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 2500);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <button
      type="button"
      className={className}
      title={label}
      onClick={() => navigator.clipboard.writeText(text).then(() => setCopied(true), fail)}
    >
      <Icon name={copied ? "check" : "copy"} />
      <span aria-live="polite">{copied ? t.common.copied : label}</span>
    </button>
  );
}
