import { Link } from "wouter";
import { useTexts } from "../texts/index.tsx";
import { MessagePage } from "../ui/page.tsx";

export function NotFound() {
  const t = useTexts();
  return (
    <MessagePage title={t.notFound.title} body={t.notFound.body}>
      <Link href="/" className="button primary">
        {t.common.home}
      </Link>
    </MessagePage>
  );
}
