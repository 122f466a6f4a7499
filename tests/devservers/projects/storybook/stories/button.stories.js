import { button } from "./button.js";

export default { title: "Button", render: button };
export const Order = { args: { label: "Order" } };
