import { type ReactNode, useEffect, useRef } from "react";
import { useTexts } from "../texts/index.tsx";
import { Icon } from "../ui/icons.tsx";

/** A panel beside the pictures, or over them on a phone. It takes the focus when it opens, and Escape closes it. */
export function SidePanel({ title, close, children }: { title: string; close: () => void; children: ReactNode }) {
  const t = useTexts();
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    heading.current?.focus();
    return () => before?.focus();
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
      <div className="panel-body">{children}</div>
    </aside>
  );
}
