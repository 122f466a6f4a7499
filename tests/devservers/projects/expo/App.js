import { useState } from "react";
import { Pressable, Text, View } from "react-native";

export default function App() {
  const [count, setCount] = useState(0);
  return (
    <View>
      <Text>Get started</Text>
      <Pressable role="button" onPress={() => setCount(count + 1)}>
        <Text>Count is {count}</Text>
      </Pressable>
    </View>
  );
}
