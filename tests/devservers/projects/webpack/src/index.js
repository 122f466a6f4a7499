import { words } from "./words.js";

document.body.append(document.createElement("h1"), document.createElement("p"));
const show = () => (document.querySelector("h1").textContent = words);
document.querySelector("p").textContent = "Loaded";
show();
module.hot.accept("./words.js", show);
