export const button = ({ label }) => `<button>${label} of the shop</button>`;
