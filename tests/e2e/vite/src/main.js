export const word = "before";
document.querySelector("#app").textContent = word;
if (import.meta.hot) import.meta.hot.accept();
