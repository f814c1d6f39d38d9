import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "../dist",
    // scripts/build.js empties it: Vite would take the file along that the repository has there.
    emptyOutDir: false,
    target: "es2022",
    // Everything is a file of its own: the page's policy allows no data: scripts or styles.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1200,
  },
});
