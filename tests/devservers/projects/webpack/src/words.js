export const words = "Get started";
