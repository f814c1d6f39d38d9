import "./styles/index.css";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { createUsherClient } from "@usher-meet/client";
import { UsherProvider } from "@usher-meet/client/react";
import { createRoot } from "react-dom/client";
import { App } from "./app.tsx";
import { retrySession } from "./session.ts";
import { firstLanguage, loadTexts, TextsProvider } from "./texts/index.tsx";
import { applyTheme, currentTheme } from "./theme.ts";

const client = createUsherClient({ baseUrl: location.origin });
const queries = new QueryClient({ defaultOptions: { queries: { retry: retrySession, staleTime: 5_000 } } });

async function start(): Promise<void> {
  applyTheme(currentTheme());
  const language = firstLanguage();
  const texts = await loadTexts(language);
  const root = document.getElementById("app");
  if (!root) throw new Error("index.html lacks #app");
  createRoot(root).render(
    <TextsProvider language={language} texts={texts}>
      <QueryClientProvider client={queries}>
        <UsherProvider client={client}>
          <App />
        </UsherProvider>
      </QueryClientProvider>
    </TextsProvider>,
  );
}

void start();
