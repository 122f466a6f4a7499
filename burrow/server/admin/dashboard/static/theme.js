// Sets the colours that were chosen before the page is painted; so it is no module.
"use strict";
(() => {
  try {
    const chosen = localStorage.getItem("burrow-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // A browser that keeps nothing: the system's colours it is.
  }
})();
