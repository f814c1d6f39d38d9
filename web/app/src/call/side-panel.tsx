import { type ReactNode, useEffect, useRef } from "react";
import { useTexts } from "../texts/index.tsx";
import { Icon } from "../ui/icons.tsx";

/**
 * A panel beside the pictures, or over them on a phone. It takes the focus when it opens, keeps it when what had it goes, as
 * the button that lets somebody in does, and Escape closes it.
 */
export function SidePanel({ title, close, children }: { title: string; close: () => void; children: ReactNode }) {
  const t = useTexts();
  const heading = useRef<HTMLHeadingElement>(null);
  const body = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    heading.current?.focus();
    return () => before?.focus();
  }, []);
  useEffect(() => {
    const element = body.current;
    if (!element) return;
    let last: EventTarget | null = null;
    const follow = (event: FocusEvent) => {
      last = event.target;
    };
    const observer = new MutationObserver(() => {
      if (last instanceof Node && !last.isConnected && document.activeElement === document.body) heading.current?.focus();
    });
    element.addEventListener("focusin", follow);
    observer.observe(element, { childList: true, subtree: true });
    return () => {
      element.removeEventListener("focusin", follow);
      observer.disconnect();
    };
  }, []);
  return (
    <aside
      className="panel"
      aria-labelledby="panel-title"
      onKeyDown={(event) => {
        if (event.key === "Escape") close();
      }}
    >
      <header className="row">
        <h2 id="panel-title" ref={heading} tabIndex={-1} className="grow">
          {title}
        </h2>
        <button type="button" className="icon-button" aria-label={t.common.close} onClick={close}>
          <Icon name="close" />
        </button>
      </header>
      <div className="panel-body" ref={body}>
        {children}
      </div>
    </aside>
  );
}
